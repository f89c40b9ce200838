package capsule

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/valyala/fastjson"
)

func echoJSON(value *fastjson.Value) ([]byte, error) {
	return []byte(value.String()), nil
}

// unsetHandlers starts a test as a module starts.
func unsetHandlers() {
	SetHandle(nil)
	SetHandleJSON(nil)
	SetHandleHTTP(nil)
}

func TestAHandlerThatIsNotSetIsAFailureThatNamesIt(t *testing.T) {
	unsetHandlers()
	for setter, answer := range map[string]func([]byte) []byte{
		"capsule.SetHandle (": answerBytes, "capsule.SetHandleJSON (": answerJSON, "capsule.SetHandleHTTP (": answerHTTP,
	} {
		if framed := string(answer([]byte("{}"))); framed[0] != 'F' || !strings.Contains(framed, setter) {
			t.Errorf("%s: %s", setter, framed)
		}
	}
}

func TestHandle(t *testing.T) {
	var kept []byte
	SetHandle(func(param []byte) ([]byte, error) {
		kept = param
		switch string(param) {
		case "fail":
			return []byte("ignored"), errors.New("no such thing")
		case "":
			return nil, nil
		}
		return append([]byte("👋 "), param...), nil
	})
	for argument, want := range map[string]string{"Bob": "S👋 Bob", "": "S", "fail": "Fno such thing", "\xff\x00": "S👋 \xff\x00"} {
		if framed := answerBytes([]byte(argument)); string(framed) != want {
			t.Errorf("%q: %q, want %q", argument, framed, want)
		}
	}
	argument := []byte("first")
	answerBytes(argument)
	copy(argument, "other")
	if string(kept) != "first" {
		t.Errorf("the handler's argument changed to %q with the host's next one", kept)
	}
}

func TestHandleJSON(t *testing.T) {
	var kept *fastjson.Value
	SetHandleJSON(func(value *fastjson.Value) ([]byte, error) {
		if kept == nil {
			kept = value
		}
		if value.GetBool("fail") {
			return nil, errors.New("as asked")
		}
		return echoJSON(value)
	})
	for _, test := range []struct{ argument, want string }{
		{`{"name":"Bob","age":4.20}`, `S{"name":"Bob","age":4.20}`},
		{`{"fail":true}`, `Fas asked`},
		{`[]`, `S[]`},
	} {
		if framed := answerJSON([]byte(test.argument)); string(framed) != test.want {
			t.Errorf("%s: %s", test.argument, framed)
		}
	}
	if framed := answerJSON([]byte(`{`)); !strings.HasPrefix(string(framed), "Fthe argument is not JSON: ") {
		t.Errorf("%s", framed)
	}
	if got := string(kept.GetStringBytes("name")); got != "Bob" {
		t.Errorf("a kept value changed to %q", got)
	}
}

// responseDocument is what a runner reads.
type responseDocument struct {
	JSONBody   json.RawMessage
	TextBody   string
	Headers    map[string]any
	StatusCode int
}

func readResponse(t *testing.T, document string) responseDocument {
	t.Helper()
	var response responseDocument
	if err := json.Unmarshal([]byte(document), &response); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	text, err := base64.StdEncoding.DecodeString(response.TextBody)
	if err != nil {
		t.Fatal(err)
	}
	response.TextBody = string(text)
	return response
}

func TestHandleHTTP(t *testing.T) {
	var got HTTPRequest
	SetHandleHTTP(func(request HTTPRequest) (HTTPResponse, error) {
		got = request
		return HTTPResponse{TextBody: request.Body, Headers: request.Header().String(), StatusCode: 201}, nil
	})
	request := HTTPRequest{Body: "a \"b\"\\\n\x01 😀", URI: "http://h:1/p?q=1", Method: "PATCH", Headers: `"X-A":"b, \"c\": d"`}
	document, err := json.Marshal(map[string]any{
		"Body": request.Body, "JSONBody": "", "TextBody": "", "URI": request.URI, "Method": request.Method, "Headers": request.Headers,
		"Unknown": map[string]any{"later": true},
	})
	if err != nil {
		t.Fatal(err)
	}
	framed := string(answerHTTP(document))
	if got != request {
		t.Errorf("the handler got %+v", got)
	}
	response := readResponse(t, framed[1:])
	if framed[0] != 'S' || response.TextBody != request.Body || response.StatusCode != 201 || response.Headers["X-A"] != `b, "c": d` {
		t.Errorf("answered %s", framed)
	}
	large := strings.Repeat("x", requestParserKeeps)
	document, _ = json.Marshal(map[string]string{"Body": large})
	if response := readResponse(t, string(answerHTTP(document))[1:]); response.TextBody != large {
		t.Error("a large body came back changed")
	}
	if framed := answerHTTP([]byte(`{"Body":`)); !strings.HasPrefix(string(framed), "Fthe request document is not JSON: ") {
		t.Errorf("%s", framed)
	}
}

func TestHTTPResponsesThatAreNotJSON(t *testing.T) {
	for _, test := range []struct {
		response HTTPResponse
		want     string
	}{
		{HTTPResponse{JSONBody: `{"a": 1}`, StatusCode: 200}, `S{"JSONBody":{"a": 1},"TextBody":"","Headers":{},"StatusCode":200}`},
		{HTTPResponse{}, `S{"JSONBody":{},"TextBody":"","Headers":{},"StatusCode":0}`},
		{HTTPResponse{JSONBody: `{},"StatusCode":204`}, `Fthe response's JSONBody is not one JSON value`},
		{HTTPResponse{JSONBody: `{"a":"`}, `Fthe response's JSONBody is not one JSON value`},
		{HTTPResponse{Headers: `"A":"b"`}, `Fthe response's Headers are not a JSON object`},
	} {
		SetHandleHTTP(func(HTTPRequest) (HTTPResponse, error) { return test.response, nil })
		framed := string(answerHTTP([]byte(`{}`)))
		if framed != test.want {
			t.Errorf("got %s, want %s", framed, test.want)
		}
		text := StringifyHTTPResponse(test.response)
		if test.want[0] == 'S' {
			if "S"+text != test.want {
				t.Errorf("text %s", text)
			}
		} else if response := readResponse(t, text); response.StatusCode != 500 || response.TextBody != test.want[1:] {
			t.Errorf("text %s", text)
		}
	}
	SetHandleHTTP(func(HTTPRequest) (HTTPResponse, error) { return HTTPResponse{}, errors.New("redis: nil\nredis: nil") })
	if framed := string(answerHTTP([]byte(`{}`))); framed != "Fredis: nil\nredis: nil" {
		t.Errorf("got %s", framed)
	}
}

func FuzzDocumentsNeverPanic(f *testing.F) {
	for _, text := range []string{``, `{}`, `[]`, `{"Body":1}`, `null`, `{"Headers":"\"A\":\"b\""}`, "\xff\x00",
		`{"HeaderList":[["A","b"],[],1,{"0":2}],"Base64Body":"Yf8="}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		SetHandleHTTP(func(request HTTPRequest) (HTTPResponse, error) {
			return HTTPResponse{TextBody: request.Body, JSONBody: request.JSONBody, Headers: request.Header().String()}, nil
		})
		texts := answerHTTP(document)
		SetHandleRequest(func(request Request) (Response, error) {
			return Response{Header: request.Header, Body: request.Body}, nil
		})
		SetHandleJSON(echoJSON)
		for _, framed := range [][]byte{texts, answerHTTP(document), answerJSON(document)} {
			if framed[0] != 'S' && framed[0] != 'F' {
				t.Fatalf("frame %q", framed)
			}
		}
	})
}
