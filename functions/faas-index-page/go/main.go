// A function for a FaaS server that serves a page which is a part of the module.
package main

import (
	_ "embed"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

//go:embed index.html
var page string

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	return capsule.HTTPResponse{
		TextBody:   page,
		Headers:    capsule.SetHeaders(map[string]string{"Content-Type": "text/html; charset=utf-8"}),
		StatusCode: 200,
	}, nil
}

func main() {}
