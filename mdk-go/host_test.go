//go:build !wasm

package capsule

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestPrintLogTalkAndEnvironment(t *testing.T) {
	host := UseFakeHost()
	host.Env["MESSAGE"] = "hi"
	Print("")
	Print("a\nb")
	Log("c")
	if !reflect.DeepEqual(host.Printed, []string{"", "a\nb"}) || !reflect.DeepEqual(host.Logged, []string{"c"}) {
		t.Errorf("printed %q, logged %q", host.Printed, host.Logged)
	}
	if GetEnv("MESSAGE") != "hi" || GetEnv("UNSET") != "" {
		t.Error("the environment is wrong")
	}
	if got := string(Talk([]byte("hey"))); got != "Hello 😀 I'm the host" {
		t.Errorf("the host says %q", got)
	}
	host.Talk = func(message []byte) []byte { return append(message, '!') }
	if got := string(Talk([]byte("hey"))); got != "hey!" {
		t.Errorf("the host says %q", got)
	}
}

func TestFiles(t *testing.T) {
	UseFakeHost()
	if _, err := ReadFile("none.txt"); err == nil || !strings.Contains(err.Error(), "none.txt") {
		t.Errorf("reading a missing file: %v", err)
	}
	if err := WriteFile("a.txt", nil); err != nil {
		t.Fatal(err)
	}
	if content, err := ReadFile("a.txt"); err != nil || len(content) != 0 {
		t.Errorf("read %q, %v", content, err)
	}
}

func TestCacheAndRedis(t *testing.T) {
	host := UseFakeHost()
	value := []byte("a\x00b")
	if string(CacheSet("user:1", value)) != "user:1" {
		t.Error("CacheSet does not answer with the key")
	}
	if key, err := RedisSet("user:1", value); err != nil || string(key) != "user:1" {
		t.Errorf("RedisSet: %q, %v", key, err)
	}
	CacheSet("user:2/x", nil)
	CacheSet("other", nil)
	for name, get := range map[string]func(string) ([]byte, error){"key not found": CacheGet, "redis: nil": RedisGet} {
		if got, err := get("user:1"); err != nil || string(got) != string(value) {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := get("none"); err == nil || err.Error() != name || !IsNotFound(err) {
			t.Errorf("a missing key is %v, want %s", err, name)
		}
	}
	if names, err := CacheKeys("user:*"); err != nil || !reflect.DeepEqual(names, []string{"user:1", "user:2/x"}) {
		t.Errorf("keys %q, %v", names, err)
	}
	if string(CacheDel("user:1")) != "user:1" || string(CacheDel("user:1")) != "user:1" {
		t.Error("CacheDel does not answer with the key")
	}
	if _, err := CacheGet("user:1"); !IsNotFound(err) {
		t.Errorf("a deleted key: %v", err)
	}
	if _, err := RedisDel("user:1"); err != nil {
		t.Error(err)
	}
	if names, err := RedisKeys("*"); err != nil || len(names) != 0 {
		t.Errorf("keys %q, %v", names, err)
	}
	host.RedisError = errors.New("connection refused")
	for _, err := range []error{second(RedisSet("a", nil)), second(RedisGet("a")), second(RedisDel("a")), secondOf(RedisKeys("*"))} {
		if err == nil || err.Error() != "connection refused" || IsNotFound(err) {
			t.Errorf("Redis away: %v", err)
		}
	}
	if IsNotFound(nil) {
		t.Error("no error is a missing key")
	}
}

func second(_ []byte, err error) error     { return err }
func secondOf(_ []string, err error) error { return err }

func TestOutboundHTTP(t *testing.T) {
	host := UseFakeHost()
	if _, err := HTTP(HTTPRequest{URI: "http://h/"}); err == nil {
		t.Error("a host without HTTP answered")
	}
	var sent HTTPRequest
	answer := HTTPResponse{JSONBody: `{"n":1.50}`, Headers: `{"Content-Type":["application/json"]}`, StatusCode: 200}
	host.HTTP = func(request HTTPRequest) (HTTPResponse, error) {
		sent = request
		return answer, nil
	}
	got, err := HTTP(HTTPRequest{
		JSONBody: `{"msg": "hello"}`, URI: `http://h/"quoted"\`, Method: "POST", Headers: SetHeaders(map[string]string{"A": `b"`}),
	})
	if err != nil || got != answer || got.Text() != answer.JSONBody {
		t.Errorf("answered %+v, %v", got, err)
	}
	if sent.JSONBody != `{"msg":"hello"}` || sent.URI != `http://h/"quoted"\` || sent.Method != "POST" || GetHeaders(sent.Headers)["A"] != `b"` {
		t.Errorf("sent %+v", sent)
	}
	answer = HTTPResponse{TextBody: "<p class=\"a\">\n\x01é", StatusCode: 404}
	got, err = HTTP(HTTPRequest{TextBody: "a\"b\nc", Body: "unused", URI: "http://h/"})
	if err != nil || got.StatusCode != 404 || got.Text() != answer.TextBody || got.TextBody != Quote(answer.TextBody) || got.JSONBody != "" {
		t.Errorf("answered %+v, %v", got, err)
	}
	if sent.TextBody != "a\"b\nc" || sent.JSONBody != "" || sent.Method != "GET" {
		t.Errorf("sent %+v", sent)
	}
	answer = HTTPResponse{StatusCode: 204}
	if got, err := HTTP(HTTPRequest{Body: "passed on", URI: "http://h/"}); err != nil || got.TextBody != "" || got.Text() != "" {
		t.Errorf("answered %+v, %v", got, err)
	}
	if sent.TextBody != "passed on" {
		t.Errorf("sent %+v", sent)
	}
	for _, request := range []HTTPRequest{{JSONBody: `{`}, {JSONBody: `1,"URI":"http://other"`}, {Headers: `"A":"b"`}} {
		if _, err := HTTP(request); err == nil {
			t.Errorf("%+v was sent", request)
		}
	}
	if got := (HTTPResponse{TextBody: "plain"}).Text(); got != "plain" {
		t.Errorf("text %q", got)
	}
}
