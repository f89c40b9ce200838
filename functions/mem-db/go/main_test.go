package main

import (
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
	if _, left := host.Cache["three"]; left || len(host.Cache) != 3 {
		t.Errorf("left %q", host.Cache)
	}
}
