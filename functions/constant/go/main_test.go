package main

import (
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	response, err := handle(capsule.HTTPRequest{Body: "ignored"})
	if err != nil || response.StatusCode != 200 || response.JSONBody != `{"message":"hello"}` {
		t.Errorf("answered %+v, %v", response, err)
	}
}
