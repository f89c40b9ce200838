//go:build wasm && !tinygo && go1.24

package capsule

import "unsafe"

//go:wasmexport malloc
func malloc(size uint32) unsafe.Pointer {
	return data(lend(size))
}

//go:wasmexport free
func free(pointer uint32) {
	delete(lent, pointer)
}

//go:wasmexport allocateBuffer
func allocateBuffer(size uint32) unsafe.Pointer {
	return data(lend(size))
}

//go:wasmexport callHandle
func callHandle(pointer unsafe.Pointer, length uint32) uint64 {
	return serve(pointer, length, answerBytes)
}

//go:wasmexport callHandleJSON
func callHandleJSON(pointer unsafe.Pointer, length uint32) uint64 {
	return serve(pointer, length, answerJSON)
}

//go:wasmexport callHandleHTTP
func callHandleHTTP(pointer unsafe.Pointer, length uint32) uint64 {
	return serve(pointer, length, answerHTTP)
}

//go:wasmexport callHandleRequest
func callHandleRequest(head unsafe.Pointer, headLength uint32, body unsafe.Pointer, bodyLength uint32) uint64 {
	return serveRequest(head, headLength, body, bodyLength)
}
