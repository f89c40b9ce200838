package capsule

import (
	"errors"
	"unsafe"
)

// lent holds what the host allocated in the module's memory, by address: the collector neither frees nor reuses it until the host
// frees it (an argument) or the module takes it (the answer of a host function).
var lent = map[uint32][]byte{}

// address is where a buffer lies, as the host counts. Addresses of a wasm module fit in 32 bits.
func address(buffer []byte) uint32 {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(buffer))))
}

// bytesOf lends the bytes of a text to who only reads them: a body of megabytes is not copied once more.
func bytesOf(text string) []byte {
	return unsafe.Slice(unsafe.StringData(text), len(text))
}

// textOf lends bytes that nobody changes any more as a text.
func textOf(buffer []byte) string {
	return unsafe.String(unsafe.SliceData(buffer), len(buffer))
}

// pack keeps a buffer in place and makes `address << 32 | length`.
func pack(buffer []byte) uint64 {
	if len(buffer) == 0 {
		return 0
	}
	hold(buffer)
	return uint64(address(buffer))<<32 | uint64(uint32(len(buffer)))
}

// record is where the host finds the parts of an answer: address and length of its head, address and length of its body.
var record [4 * numberSize]byte

// packAnswer keeps both parts of an answer in place and packs their record, which the next answer writes over.
func packAnswer(head, body []byte) uint64 {
	numbers := record[:0]
	for _, part := range [...]uint64{pack(head), pack(body)} {
		numbers = appendNumber(appendNumber(numbers, uint32(part>>32)), uint32(part))
	}
	return uint64(address(record[:]))<<32 | uint64(len(record))
}

// lend allocates a buffer for the host to write into.
func lend(size uint32) []byte {
	// One byte at least, so that the buffer has an address of its own.
	buffer := make([]byte, size, uint64(size)+1)
	lent[address(buffer)] = buffer
	return buffer
}

// take makes a buffer that the host filled the module's own. No host that keeps to the ABI answers with another address than
// one that it was given.
func take(pointer, length uint32) ([]byte, error) {
	if length == 0 {
		return nil, nil
	}
	buffer, known := lent[pointer]
	if !known || uint64(length) > uint64(len(buffer)) {
		return nil, errors.New("the host answered with a buffer that it did not get from the module")
	}
	delete(lent, pointer)
	return buffer[:length:length], nil
}

// ReadBufferFromMemory reads what a host function of one's own answered at an address that it got from allocateBuffer, or any
// other part of the module's memory. The result is the module's own. A length of 0 gives nil; the pointer is not looked at.
func ReadBufferFromMemory(bufferPosition *uint32, length uint32) []byte {
	if length == 0 || bufferPosition == nil {
		return nil
	}
	start := unsafe.Pointer(bufferPosition)
	if buffer, err := take(uint32(uintptr(start)), length); err == nil {
		return buffer
	}
	return append([]byte(nil), unsafe.Slice((*byte)(start), length)...)
}
