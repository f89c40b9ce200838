package main

import (
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	capsule.UseFakeHost()
	response, err := handle(capsule.HTTPRequest{Body: "Bob"})
	if err != nil || response.StatusCode != 200 || response.TextBody != "🟠 👋 Hey Bob !" {
		t.Errorf("answered %+v, %v", response, err)
	}
	if got := response.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("the content type is %q", got)
	}
}
