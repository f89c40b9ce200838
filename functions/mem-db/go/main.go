// A function for the terminal that stores values in the runner's memory, deletes one and lists the rest.
package main

import capsule "github.com/bots-garden/capsule-module-sdk"

func init() {
	capsule.SetHandle(handle)
}

func handle([]byte) ([]byte, error) {
	capsule.CacheSet("one", []byte("👋 hello world 🌍"))
	capsule.CacheSet("two", []byte("two"))
	capsule.CacheSet("three", []byte("three"))
	capsule.CacheSet("four", []byte("four"))

	value, err := capsule.CacheGet("one")
	if err != nil {
		return nil, err
	}
	capsule.Print("📝: " + string(value))

	capsule.CacheDel("three")
	keys, err := capsule.CacheKeys("*")
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		capsule.Print("🔑 " + key)
	}
	return []byte("👋 Hello"), nil
}

func main() {}
