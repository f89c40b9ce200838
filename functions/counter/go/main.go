// A function over HTTP that answers how often this instance was called.
package main

import (
	"strconv"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

var count int

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	count++
	return capsule.HTTPResponse{
		TextBody:   strconv.Itoa(count),
		Headers:    `{"Content-Type":"text/plain; charset=utf-8"}`,
		StatusCode: 200,
	}, nil
}

func main() {}
