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
	header := response.Header()
	if header.Get("Content-Type") != "text/html; charset=utf-8" || header.Get("Cache-Control") != "no-cache" ||
		header.Get("X-Powered-By") != "capsule-module-sdk" {
		t.Errorf("headers %s", response.Headers)
	}
}
