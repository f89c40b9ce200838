// Package capsule is the SDK for Capsule modules written in Go. A module registers one handler and exports nothing else:
//
//	package main
//
//	import capsule "github.com/bots-garden/capsule-module-sdk"
//
//	func init() {
//		capsule.SetHandleHTTP(func(request capsule.HTTPRequest) (capsule.HTTPResponse, error) {
//			return capsule.HTTPResponse{TextBody: "👋 Hey " + request.Body, StatusCode: 200}, nil
//		})
//	}
//
//	func main() {}
//
// It builds with TinyGo (0.33 or later) and with standard Go (1.24 or later). Handlers belong in init: a reactor of standard Go
// never runs main.
//
// Handlers: [SetHandle], [SetHandleJSON], [SetHandleHTTP], [SetHandleRequest]. Host functions: [Print], [Log], [Talk], [GetEnv],
// [ReadFile], [WriteFile], [HTTP], [Send], the Cache* and the Redis* functions; they also work in init and main. Documents: [GetHeaders],
// [SetHeaders], [Header], [Object], [Quote].
//
// On any other platform than wasm the host functions go to an in-memory [FakeHost], so that handlers are tested by plain
// `go test`.
//
// Memory: the module owns what it returns and what it gets. A result stays where it is until the module's next call; a buffer
// that the host asked for stays where it is until the module has read it. Nothing here is safe for use from several goroutines
// at once: a runner calls an instance one call at a time.
package capsule
