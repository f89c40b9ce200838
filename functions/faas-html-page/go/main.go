// A function for a FaaS server that answers with a line of HTML.
package main

import capsule "github.com/bots-garden/capsule-module-sdk"

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	return capsule.HTTPResponse{
		TextBody:   "<h1>👋 Hello World! 🌍</h1>",
		Headers:    capsule.SetHeaders(map[string]string{"Content-Type": "text/html; charset=utf-8"}),
		StatusCode: 200,
	}, nil
}

func main() {}
