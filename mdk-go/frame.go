package capsule

import "errors"

// The first byte of a framed value says what the rest is.
const (
	frameSuccess = 'S'
	frameFailure = 'F'
)

// heldBuffers is how many packed buffers outlive the statement that packed them: enough for a host function of one's own that
// takes several, without a growing list in modules whose hooks are called for ever.
const heldBuffers = 8

// held keeps the newest packed buffers reachable: the collector does not see the addresses that the host has.
var (
	held     [heldBuffers][]byte
	heldNext int
)

// hold keeps a buffer in place until heldBuffers more are held or the next call of a handler begins.
func hold(buffer []byte) {
	held[heldNext] = buffer
	heldNext = (heldNext + 1) % heldBuffers
}

// releaseHeld lets go of what earlier calls returned. The host has copied it by now.
func releaseHeld() {
	held = [heldBuffers][]byte{}
	heldNext = 0
}

// frame puts the frame byte in front of a copy of the payload.
func frame(first byte, payload []byte) []byte {
	framed := make([]byte, 0, 1+len(payload))
	framed = append(framed, first)
	return append(framed, payload...)
}

// frameError makes the frame of a failed call.
func frameError(err error) []byte {
	return frame(frameFailure, []byte(err.Error()))
}

// Success makes the result of an exported function that went well, for hooks such as OnHealthCheck. The buffer is copied; the
// copy stays in place until the module's next call.
func Success(buffer []byte) uint64 {
	return pack(frame(frameSuccess, buffer))
}

// Failure makes the result of an exported function that failed; the buffer is the message. It is copied like that of [Success].
func Failure(buffer []byte) uint64 {
	return pack(frame(frameFailure, buffer))
}

// Result takes a framed value apart: the payload of a success, or an error with the text of a failure. The payload is a part of
// data, not a copy.
func Result(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("the host answered nothing, expected a frame that starts with S or F")
	}
	switch data[0] {
	case frameSuccess:
		return data[1:], nil
	case frameFailure:
		return nil, errors.New(string(data[1:]))
	}
	return nil, errors.New("the host's answer is not a frame that starts with S or F")
}

// CopyBufferToMemory gives the address of a buffer to a host function: `address << 32 | length`. The buffer is not copied; it stays
// in place until eight more have been given or the next call of a handler begins. An empty buffer is address 0, length 0. Only
// a wasm module has addresses that fit; elsewhere the result is for [ReadBufferFromMemory] of no use.
func CopyBufferToMemory(buffer []byte) uint64 {
	return pack(buffer)
}
