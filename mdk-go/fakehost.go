//go:build !wasm

package capsule

import (
	"encoding/base64"
	"errors"
	"path"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// FakeHost stands in for a runner where there is none: in `go test` on the developer's machine. The host functions read and change
// its fields, so that a test prepares them before it calls a handler and looks at them afterwards. Not for several goroutines.
type FakeHost struct {
	// Printed are the texts given to Print, in order.
	Printed []string
	// Logged are the texts given to Log, in order.
	Logged []string
	// Env are the environment variables.
	Env map[string]string
	// Files are the files by path.
	Files map[string][]byte
	// Cache is the in-memory cache.
	Cache map[string][]byte
	// Redis is the Redis database.
	Redis map[string][]byte
	// RedisError makes every Redis function fail when it is set.
	RedisError error
	// HTTP answers outbound requests; TextBody of its answer is the plain text. Nil refuses them all.
	HTTP func(HTTPRequest) (HTTPResponse, error)
	// Talk answers messages. Nil answers as a runner does that knows no better.
	Talk func([]byte) []byte
}

var fakeHost = newFakeHost()

// UseFakeHost puts an empty host in the place of the one before and returns it.
func UseFakeHost() *FakeHost {
	fakeHost = newFakeHost()
	return fakeHost
}

func newFakeHost() *FakeHost {
	return &FakeHost{
		Env:   map[string]string{},
		Files: map[string][]byte{},
		Cache: map[string][]byte{},
		Redis: map[string][]byte{},
	}
}

func hostPrintString(text []byte) {
	fakeHost.Printed = append(fakeHost.Printed, string(text))
}

func hostLogString(text []byte) {
	fakeHost.Logged = append(fakeHost.Logged, string(text))
}

func hostTalk(message []byte) []byte {
	if fakeHost.Talk == nil {
		return []byte("Hello 😀 I'm the host")
	}
	return fakeHost.Talk(message)
}

func hostGetEnv(name []byte) []byte {
	return []byte(fakeHost.Env[string(name)])
}

func hostReadFile(path []byte) []byte {
	return lookUp(fakeHost.Files, path, "open "+string(path)+": no such file or directory")
}

func hostWriteFile(path, content []byte) []byte {
	return store(fakeHost.Files, path, content)
}

func hostHTTP(document []byte) []byte {
	if fakeHost.HTTP == nil {
		return frameError(errors.New("the fake host has no HTTP function"))
	}
	value, err := fastjson.ParseBytes(document)
	if err != nil {
		return frameError(err)
	}
	request := HTTPRequest{
		TextBody: string(value.GetStringBytes("TextBody")),
		URI:      string(value.GetStringBytes("URI")),
		Method:   string(value.GetStringBytes("Method")),
		Headers:  value.Get("Headers").String(),
	}
	if body, err := exactBody(value); err == nil && body != nil {
		request.TextBody = string(body)
	}
	if body := value.Get("JSONBody"); body != nil {
		request.JSONBody = body.String()
	}
	response, err := fakeHost.HTTP(request)
	if err != nil {
		return frameError(err)
	}
	answer := NewObject()
	if response.JSONBody != "" {
		answer.JSON("JSONBody", response.JSONBody)
	} else {
		answer.Text("TextBody", response.TextBody)
	}
	if !utf8.ValidString(response.TextBody) {
		answer.Text("Base64Body", base64.StdEncoding.EncodeToString([]byte(response.TextBody)))
	}
	answer.JSON("Headers", orEmptyObject(response.Headers)).Int("StatusCode", int64(response.StatusCode))
	return frame(frameSuccess, []byte(answer.String()))
}

func hostCacheSet(key, value []byte) []byte {
	return store(fakeHost.Cache, key, value)
}

func hostCacheGet(key []byte) []byte {
	return lookUp(fakeHost.Cache, key, cacheNotFound)
}

func hostCacheDel(key []byte) []byte {
	return remove(fakeHost.Cache, key)
}

func hostCacheKeys(filter []byte) []byte {
	return listKeys(fakeHost.Cache, filter)
}

func hostRedisSet(key, value []byte) []byte {
	if fakeHost.RedisError != nil {
		return frameError(fakeHost.RedisError)
	}
	return store(fakeHost.Redis, key, value)
}

func hostRedisGet(key []byte) []byte {
	if fakeHost.RedisError != nil {
		return frameError(fakeHost.RedisError)
	}
	return lookUp(fakeHost.Redis, key, redisNotFound)
}

func hostRedisDel(key []byte) []byte {
	if fakeHost.RedisError != nil {
		return frameError(fakeHost.RedisError)
	}
	return remove(fakeHost.Redis, key)
}

func hostRedisKeys(pattern []byte) []byte {
	if fakeHost.RedisError != nil {
		return frameError(fakeHost.RedisError)
	}
	return listKeys(fakeHost.Redis, pattern)
}

func store(values map[string][]byte, key, value []byte) []byte {
	values[string(key)] = append([]byte{}, value...)
	return frame(frameSuccess, key)
}

func lookUp(values map[string][]byte, key []byte, missing string) []byte {
	value, known := values[string(key)]
	if !known {
		return frameError(errors.New(missing))
	}
	return frame(frameSuccess, value)
}

func remove(values map[string][]byte, key []byte) []byte {
	delete(values, string(key))
	return frame(frameSuccess, key)
}

// listKeys answers with the sorted keys that match a glob. For path.Match a slash would be a border; for Redis it is none.
func listKeys(values map[string][]byte, pattern []byte) []byte {
	borderless := strings.NewReplacer("/", "\x00")
	glob := borderless.Replace(string(pattern))
	names := []string{}
	for name := range values {
		if matches, err := path.Match(glob, borderless.Replace(name)); err == nil && matches {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return frame(frameSuccess, []byte(NewObject().Texts("keys", names).String()))
}
