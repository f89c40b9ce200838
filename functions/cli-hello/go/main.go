// A function for the terminal: it reads the environment, writes a file and reads it back, and greets.
package main

import capsule "github.com/bots-garden/capsule-module-sdk"

func init() {
	capsule.SetHandle(handle)
}

func handle(param []byte) ([]byte, error) {
	capsule.Print("Environment variable → MESSAGE: " + capsule.GetEnv("MESSAGE"))

	if err := capsule.WriteFile("./hello.txt", []byte("👋 Hello World! 🌍")); err != nil {
		return nil, err
	}
	content, err := capsule.ReadFile("./hello.txt")
	if err != nil {
		return nil, err
	}
	capsule.Print("📝: " + string(content))

	return []byte("👋 Hello " + string(param)), nil
}

func main() {}
