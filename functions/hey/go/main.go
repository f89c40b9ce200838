// A function over HTTP that shows the request and answers with a text.
package main

import capsule "github.com/bots-garden/capsule-module-sdk"

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(request capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	capsule.Print("📝: " + request.Body)
	capsule.Print("🔠: " + request.Method)
	capsule.Print("🌍: " + request.URI)
	capsule.Print("👒: " + request.Headers)

	return capsule.HTTPResponse{
		TextBody:   "👋 Hey " + request.Body + " !",
		Headers:    capsule.SetHeaders(map[string]string{"Content-Type": "text/plain; charset=utf-8"}),
		StatusCode: 200,
	}, nil
}

func main() {}
