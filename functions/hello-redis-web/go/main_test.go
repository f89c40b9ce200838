package main

import (
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	host := capsule.UseFakeHost()
	if _, err := handle(capsule.HTTPRequest{}); err == nil || err.Error() != "redis: nil\nredis: nil" {
		t.Errorf("error %v", err)
	}
	host.Redis["message"] = []byte(`say "hi"`)
	if _, err := handle(capsule.HTTPRequest{}); err == nil || err.Error() != "redis: nil" {
		t.Errorf("error %v", err)
	}
	host.Redis["x_handle"] = []byte("@bob")
	response, err := handle(capsule.HTTPRequest{})
	if err != nil || response.StatusCode != 200 || response.JSONBody != `{"message":"say \"hi\"","xHandle":"@bob"}` {
		t.Errorf("answered %+v, %v", response, err)
	}
}
