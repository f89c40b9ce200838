package main

import (
	"errors"
	"reflect"
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	host := capsule.UseFakeHost()
	host.HTTP = func(request capsule.HTTPRequest) (capsule.HTTPResponse, error) {
		switch request.Method + " " + request.URI {
		case "GET http://localhost:3000/json":
			return capsule.HTTPResponse{JSONBody: `{"name":"Bob"}`, StatusCode: 200}, nil
		case "GET http://localhost:3000/html":
			return capsule.HTTPResponse{TextBody: `<p class="a">`, StatusCode: 200}, nil
		case "POST http://localhost:3000/":
			return capsule.HTTPResponse{JSONBody: request.JSONBody, StatusCode: 201}, nil
		}
		return capsule.HTTPResponse{}, errors.New("not expected: " + request.URI)
	}
	answer, err := handle(nil)
	if err != nil || string(answer) != "👋 Hello " {
		t.Errorf("answered %q, %v", answer, err)
	}
	want := []string{
		`📝 JSONBody: {"name":"Bob"}`, `📝 TextBody: `, `🅿️ StatusCode: 200`,
		`📝 JSONBody: `, `📝 TextBody: "<p class=\"a\">"`, `🅿️ StatusCode: 200`,
		`📝 JSONBody: {"msg":"hello"}`, `📝 TextBody: `, `🅿️ StatusCode: 201`,
	}
	if !reflect.DeepEqual(host.Printed, want) {
		t.Errorf("printed %q", host.Printed)
	}
}

func TestTheServerIsAway(t *testing.T) {
	capsule.UseFakeHost().HTTP = func(capsule.HTTPRequest) (capsule.HTTPResponse, error) {
		return capsule.HTTPResponse{}, errors.New("connection refused")
	}
	if _, err := handle(nil); err == nil || err.Error() != "connection refused" {
		t.Errorf("error %v", err)
	}
}
