//go:build wasm

package capsule

import (
	"runtime"
	"unsafe"
)

// The host functions as the ABI has them: address and length of each input, then the addresses of two 32-bit cells where the host
// writes address and length of its answer. Only unsafe.Pointer and uint32 appear, which both compilers pass as an i32. All return 0.

//go:wasmimport env hostPrintString
func importPrintString(text unsafe.Pointer, textLength uint32) uint32

//go:wasmimport env hostLogString
func importLogString(text unsafe.Pointer, textLength uint32) uint32

//go:wasmimport env hostTalk
func importTalk(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostGetEnv
func importGetEnv(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostReadFile
func importReadFile(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostWriteFile
func importWriteFile(name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, valueLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostHTTP
func importHTTP(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostCacheSet
func importCacheSet(name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, valueLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostCacheGet
func importCacheGet(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostCacheDel
func importCacheDel(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostCacheKeys
func importCacheKeys(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostRedisSet
func importRedisSet(name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, valueLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostRedisGet
func importRedisGet(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostRedisDel
func importRedisDel(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

//go:wasmimport env hostRedisKeys
func importRedisKeys(input unsafe.Pointer, inputLength uint32, answer, answerLength unsafe.Pointer) uint32

// data is where a buffer lies; an empty one may lie anywhere.
func data(buffer []byte) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(buffer))
}

// cells is where the host writes address and length of its answer. They stay 0 when the host writes nothing.
type cells struct {
	pointer, length uint32
}

func (c *cells) at() unsafe.Pointer {
	return unsafe.Pointer(&c.pointer)
}

func (c *cells) lengthAt() unsafe.Pointer {
	return unsafe.Pointer(&c.length)
}

// raw takes an answer without a frame.
func (c *cells) raw() []byte {
	answer, err := take(c.pointer, c.length)
	if err != nil {
		return nil
	}
	return answer
}

// framed takes an answer with a frame.
func (c *cells) framed() []byte {
	answer, err := take(c.pointer, c.length)
	if err != nil {
		return frameError(err)
	}
	return answer
}

func hostPrintString(text []byte) {
	importPrintString(data(text), uint32(len(text)))
	runtime.KeepAlive(text)
}

func hostLogString(text []byte) {
	importLogString(data(text), uint32(len(text)))
	runtime.KeepAlive(text)
}

func hostTalk(message []byte) []byte {
	var answer cells
	importTalk(data(message), uint32(len(message)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(message)
	return answer.raw()
}

func hostGetEnv(name []byte) []byte {
	var answer cells
	importGetEnv(data(name), uint32(len(name)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(name)
	return answer.raw()
}

func hostReadFile(path []byte) []byte {
	var answer cells
	importReadFile(data(path), uint32(len(path)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(path)
	return answer.framed()
}

func hostWriteFile(path, content []byte) []byte {
	var answer cells
	importWriteFile(data(path), uint32(len(path)), data(content), uint32(len(content)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(path)
	runtime.KeepAlive(content)
	return answer.framed()
}

func hostHTTP(document []byte) []byte {
	var answer cells
	importHTTP(data(document), uint32(len(document)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(document)
	return answer.framed()
}

func hostCacheSet(key, value []byte) []byte {
	var answer cells
	importCacheSet(data(key), uint32(len(key)), data(value), uint32(len(value)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
	return answer.framed()
}

func hostCacheGet(key []byte) []byte {
	var answer cells
	importCacheGet(data(key), uint32(len(key)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(key)
	return answer.framed()
}

func hostCacheDel(key []byte) []byte {
	var answer cells
	importCacheDel(data(key), uint32(len(key)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(key)
	return answer.framed()
}

func hostCacheKeys(filter []byte) []byte {
	var answer cells
	importCacheKeys(data(filter), uint32(len(filter)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(filter)
	return answer.framed()
}

func hostRedisSet(key, value []byte) []byte {
	var answer cells
	importRedisSet(data(key), uint32(len(key)), data(value), uint32(len(value)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
	return answer.framed()
}

func hostRedisGet(key []byte) []byte {
	var answer cells
	importRedisGet(data(key), uint32(len(key)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(key)
	return answer.framed()
}

func hostRedisDel(key []byte) []byte {
	var answer cells
	importRedisDel(data(key), uint32(len(key)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(key)
	return answer.framed()
}

func hostRedisKeys(pattern []byte) []byte {
	var answer cells
	importRedisKeys(data(pattern), uint32(len(pattern)), answer.at(), answer.lengthAt())
	runtime.KeepAlive(pattern)
	return answer.framed()
}
