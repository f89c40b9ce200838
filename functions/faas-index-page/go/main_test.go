package main

import (
	"os"
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	page, err := os.ReadFile("index.html")
	if err != nil {
		t.Fatal(err)
	}
	response, err := handle(capsule.HTTPRequest{})
	if err != nil || response.StatusCode != 200 || response.TextBody != string(page) {
		t.Errorf("answered %+v, %v", response, err)
	}
}
