//go:build wasm && tinygo

package capsule

import "unsafe"

// TinyGo exports malloc and free itself. Exports are marked with //export, not //go:wasmexport, whose functions refuse to run after
// main has returned.

//export allocateBuffer
func allocateBuffer(size uint32) unsafe.Pointer {
	return data(lend(size))
}

//export callHandle
func callHandle(pointer unsafe.Pointer, length uint32) uint64 {
	return serve(pointer, length, answerBytes)
}

//export callHandleJSON
func callHandleJSON(pointer unsafe.Pointer, length uint32) uint64 {
	return serve(pointer, length, answerJSON)
}

//export callHandleHTTP
func callHandleHTTP(pointer unsafe.Pointer, length uint32) uint64 {
	return serve(pointer, length, answerHTTP)
}

//export callHandleRequest
func callHandleRequest(head unsafe.Pointer, headLength uint32, body unsafe.Pointer, bodyLength uint32) uint64 {
	return serveRequest(head, headLength, body, bodyLength)
}
