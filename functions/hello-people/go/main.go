// A function over HTTP that counts its calls in Redis, where they outlive the runner.
package main

import (
	"strconv"

	capsule "github.com/bots-garden/capsule-module-sdk"
	"github.com/valyala/fastjson"
)

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(request capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	counter := strconv.Itoa(count() + 1)
	if _, err := capsule.RedisSet("counter", []byte(counter)); err != nil {
		capsule.Log(err.Error())
	}
	capsule.Print("🧮 Counter: " + counter)
	return greet(request), nil
}

// count reads how many calls there were: 0 before the first one, and when Redis is away.
func count() int {
	value, err := capsule.RedisGet("counter")
	if err != nil {
		return 0
	}
	counter, err := strconv.Atoi(string(value))
	if err != nil {
		return 0
	}
	return counter
}

func onStart() {
	capsule.Print("🚗 OnStart")
}

func onStop() {
	capsule.Print("🚙 OnStop")
}

// greet logs who called and answers with it. A body that is not JSON has no name and no age.
func greet(request capsule.HTTPRequest) capsule.HTTPResponse {
	capsule.Print("📝: " + request.Body)
	capsule.Print("🔠: " + request.Method)
	capsule.Print("🌍: " + request.URI)
	capsule.Print("👒: " + request.Headers)

	person, err := fastjson.Parse(request.Body)
	if err != nil {
		capsule.Log(err.Error())
	}
	message := string(person.GetStringBytes("name")) + " " + strconv.Itoa(person.GetInt("age"))
	capsule.Log(message)

	things := capsule.NewObject().Text("emoji", "🐯")
	return capsule.HTTPResponse{
		JSONBody:   capsule.NewObject().Text("message", message).Object("things", things).String(),
		Headers:    contentType("application/json; charset=utf-8"),
		StatusCode: 200,
	}
}

func onHealthCheck() uint64 {
	return answer(capsule.HTTPResponse{
		JSONBody:   capsule.NewObject().Text("message", "OK").String(),
		Headers:    contentType("application/json; charset=utf-8"),
		StatusCode: 200,
	})
}

func onMetrics() uint64 {
	return answer(capsule.HTTPResponse{
		TextBody:   "# HELP call counter\n# TYPE call_counter counter\ncall_counter " + strconv.Itoa(count()),
		Headers:    contentType("text/plain; charset=utf-8"),
		StatusCode: 200,
	})
}

// answer makes the result of a hook.
func answer(response capsule.HTTPResponse) uint64 {
	return capsule.Success([]byte(capsule.StringifyHTTPResponse(response)))
}

func contentType(value string) string {
	return capsule.SetHeaders(map[string]string{"Content-Type": value})
}

func main() {}
