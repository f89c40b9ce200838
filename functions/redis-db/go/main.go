// A function for the terminal that stores values in Redis, deletes one and lists the rest.
package main

import capsule "github.com/bots-garden/capsule-module-sdk"

func init() {
	capsule.SetHandle(handle)
}

func handle([]byte) ([]byte, error) {
	records := []struct{ key, value string }{
		{"one", "👋 hello world 🌍"}, {"two", "two"}, {"three", "three"}, {"four", "four"},
	}
	for _, record := range records {
		if _, err := capsule.RedisSet(record.key, []byte(record.value)); err != nil {
			return nil, err
		}
	}

	value, err := capsule.RedisGet("one")
	if err != nil {
		return nil, err
	}
	capsule.Print("📝: " + string(value))

	if _, err := capsule.RedisDel("three"); err != nil {
		return nil, err
	}
	keys, err := capsule.RedisKeys("*")
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		capsule.Print("🔑 " + key)
	}
	return []byte("👋 Hello"), nil
}

func main() {}
