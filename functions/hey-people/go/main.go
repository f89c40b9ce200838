// A function for the terminal that is a client: it gets JSON and HTML from a server on localhost:3000 and posts JSON to it.
package main

import (
	"strconv"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

const server = "http://localhost:3000"

func init() {
	capsule.SetHandle(handle)
}

func handle([]byte) ([]byte, error) {
	requests := []capsule.HTTPRequest{
		{Method: "GET", URI: server + "/json", Headers: accept("application/json")},
		{Method: "GET", URI: server + "/html", Headers: accept("text/html")},
		{
			Method:   "POST",
			URI:      server + "/",
			Headers:  capsule.SetHeaders(map[string]string{"Content-Type": "application/json; charset=utf-8"}),
			JSONBody: capsule.NewObject().Text("msg", "hello").String(),
		},
	}
	for _, request := range requests {
		response, err := capsule.HTTP(request)
		if err != nil {
			return nil, err
		}
		capsule.Print("📝 JSONBody: " + response.JSONBody)
		capsule.Print("📝 TextBody: " + response.TextBody)
		capsule.Print("🅿️ StatusCode: " + strconv.Itoa(response.StatusCode))
	}
	return []byte("👋 Hello "), nil
}

func accept(contentType string) string {
	return capsule.SetHeaders(map[string]string{"Accept": contentType})
}

func main() {}
