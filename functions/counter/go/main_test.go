package main

import (
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	for _, want := range []string{"1", "2", "3"} {
		if response, err := handle(capsule.HTTPRequest{}); err != nil || response.TextBody != want {
			t.Errorf("answered %+v, %v", response, err)
		}
	}
}
