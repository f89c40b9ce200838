// A function over HTTP that always answers the same and asks the host for nothing: what is left to measure is the runner.
package main

import capsule "github.com/bots-garden/capsule-module-sdk"

var response = capsule.HTTPResponse{
	JSONBody:   `{"message":"hello"}`,
	Headers:    `{"Content-Type":"application/json; charset=utf-8"}`,
	StatusCode: 200,
}

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	return response, nil
}

func main() {}
