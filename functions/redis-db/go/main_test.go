package main

import (
	"errors"
	"reflect"
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	host := capsule.UseFakeHost()
	answer, err := handle(nil)
	if err != nil || string(answer) != "👋 Hello" {
		t.Errorf("answered %q, %v", answer, err)
	}
	if want := []string{"📝: 👋 hello world 🌍", "🔑 four", "🔑 one", "🔑 two"}; !reflect.DeepEqual(host.Printed, want) {
		t.Errorf("printed %q", host.Printed)
	}
	if _, left := host.Redis["three"]; left || len(host.Redis) != 3 {
		t.Errorf("left %q", host.Redis)
	}
}

func TestRedisIsAway(t *testing.T) {
	capsule.UseFakeHost().RedisError = errors.New("connection refused")
	if _, err := handle(nil); err == nil || err.Error() != "connection refused" {
		t.Errorf("error %v", err)
	}
}
