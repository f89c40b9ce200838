//go:build wasm

package capsule

import "unsafe"

// serve runs a handler on the argument that the host wrote and packs its frame. The answer function must not keep the argument: the
// host may write the next one to the same place.
func serve(pointer unsafe.Pointer, length uint32, answer func([]byte) []byte) uint64 {
	releaseHeld()
	return pack(answer(argument(pointer, length)))
}

// serveRequest is [serve] for a request whose head and body the host wrote.
func serveRequest(head unsafe.Pointer, headLength uint32, body unsafe.Pointer, bodyLength uint32) uint64 {
	releaseHeld()
	return packAnswer(answerRequest(argument(head, headLength), argument(body, bodyLength)))
}

// argument is what the host wrote. The pointer of an empty one is not looked at.
func argument(pointer unsafe.Pointer, length uint32) []byte {
	if length == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer), length)
}
