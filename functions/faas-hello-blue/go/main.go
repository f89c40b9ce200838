// A revision of a function for a FaaS server: it greets and shows the environment that it was started with.
package main

import capsule "github.com/bots-garden/capsule-module-sdk"

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(request capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	return capsule.HTTPResponse{
		TextBody:   "🔵 👋 Hey " + request.Body + " ! [" + capsule.GetEnv("MESSAGE") + " " + capsule.GetEnv("GREETING") + "]",
		Headers:    capsule.SetHeaders(map[string]string{"Content-Type": "text/plain; charset=utf-8"}),
		StatusCode: 200,
	}, nil
}

func main() {}
