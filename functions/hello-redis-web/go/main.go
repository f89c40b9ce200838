// A function over HTTP that answers with two values out of Redis.
package main

import (
	"errors"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	message, messageErr := capsule.RedisGet("message")
	xHandle, xHandleErr := capsule.RedisGet("x_handle")
	if err := errors.Join(messageErr, xHandleErr); err != nil {
		capsule.Log("😡 " + err.Error())
		return capsule.HTTPResponse{}, err
	}
	return capsule.HTTPResponse{
		JSONBody:   capsule.NewObject().Text("message", string(message)).Text("xHandle", string(xHandle)).String(),
		Headers:    capsule.SetHeaders(map[string]string{"Content-Type": "application/json; charset=utf-8"}),
		StatusCode: 200,
	}, nil
}

func main() {}
