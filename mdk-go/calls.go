//go:build wasm

package capsule

import "unsafe"

// serve runs a handler on the argument that the host wrote and packs its frame. The answer function must not keep the argument: the
// host may write the next one to the same place.
func serve(pointer unsafe.Pointer, length uint32, answer func([]byte) []byte) uint64 {
	releaseHeld()
	var argument []byte
	if length > 0 {
		argument = unsafe.Slice((*byte)(pointer), length)
	}
	return pack(answer(argument))
}
