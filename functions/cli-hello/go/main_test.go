package main

import (
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

func TestHandle(t *testing.T) {
	host := capsule.UseFakeHost()
	host.Env["MESSAGE"] = "hi"
	answer, err := handle([]byte("Bob"))
	if err != nil || string(answer) != "👋 Hello Bob" {
		t.Errorf("answered %q, %v", answer, err)
	}
	if len(host.Printed) != 2 || host.Printed[0] != "Environment variable → MESSAGE: hi" || host.Printed[1] != "📝: 👋 Hello World! 🌍" {
		t.Errorf("printed %q", host.Printed)
	}
	if content := string(host.Files["./hello.txt"]); content != "👋 Hello World! 🌍" {
		t.Errorf("wrote %q", content)
	}
}
