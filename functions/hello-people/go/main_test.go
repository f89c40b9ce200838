package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

var call = capsule.HTTPRequest{
	Body: `{"name":"Bob Morane","age":42}`, URI: "http://localhost:8080/", Method: "POST", Headers: `"Host":"localhost:8080"`,
}

func TestHandle(t *testing.T) {
	host := capsule.UseFakeHost()
	onStart()
	response, err := handle(call)
	if err != nil || response.StatusCode != 200 || response.JSONBody != `{"message":"Bob Morane 42","things":{"emoji":"🐯"}}` {
		t.Errorf("answered %+v, %v", response, err)
	}
	if response.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("headers %s", response.Headers)
	}
	want := []string{
		"🚗 OnStart", "🧮 Counter: 1", "📝: " + call.Body, "🔠: POST", "🌍: http://localhost:8080/", `👒: "Host":"localhost:8080"`,
	}
	if !reflect.DeepEqual(host.Printed, want) || !reflect.DeepEqual(host.Logged, []string{"Bob Morane 42"}) {
		t.Errorf("printed %q, logged %q", host.Printed, host.Logged)
	}
}

func TestABodyThatIsNotJSON(t *testing.T) {
	host := capsule.UseFakeHost()
	response, err := handle(capsule.HTTPRequest{Body: "Bob"})
	if err != nil || response.JSONBody != `{"message":" 0","things":{"emoji":"🐯"}}` {
		t.Errorf("answered %+v, %v", response, err)
	}
	if len(host.Logged) != 2 || !strings.Contains(host.Logged[0], "cannot parse JSON") || host.Logged[1] != " 0" {
		t.Errorf("logged %q", host.Logged)
	}
}

func TestTheCounterIsInRedis(t *testing.T) {
	host := capsule.UseFakeHost()
	host.Redis["counter"] = []byte("41")
	if _, err := handle(call); err != nil {
		t.Error(err)
	}
	if got := string(host.Redis["counter"]); got != "42" || count() != 42 {
		t.Errorf("the counter is %q", got)
	}
}

func TestRedisIsAway(t *testing.T) {
	host := capsule.UseFakeHost()
	host.RedisError = errors.New("connection refused")
	response, err := handle(call)
	if err != nil || response.StatusCode != 200 || host.Logged[0] != "connection refused" {
		t.Errorf("answered %+v, %v, logged %q", response, err, host.Logged)
	}
	if count() != 0 {
		t.Errorf("the counter is %d", count())
	}
}
