//go:build !wasm

package capsule

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestHandleRequest(t *testing.T) {
	var got Request
	SetHandleRequest(func(request Request) (Response, error) {
		got = request
		if len(request.Body) == 0 {
			return Response{}, errors.New("nothing to do")
		}
		return Response{StatusCode: 201, Header: Header{"Set-Cookie": {"a=1", "b=2"}}, Body: request.Body}, nil
	})
	defer unsetHandlers()
	framed := string(answerHTTP([]byte(`{"Body":"a\ufffd","URI":"http://h/p?q=1","Method":"PUT","Headers":"\"X-A\":\"1, 2\"",` +
		`"Path":"/p%20","Query":"raw","RequestId":"id-1","HeaderList":[["X-A","1"],["x-a","2"]],"Base64Body":"Yf8="}`)))
	want := Request{
		Method: "PUT", URI: "http://h/p?q=1", Path: "/p%20", Query: "raw", ID: "id-1", Header: Header{"X-A": {"1", "2"}}, Body: []byte("a\xff"),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the handler got %+v", got)
	}
	response := readResponse(t, framed[1:])
	if response.TextBody != "a\xff" || response.StatusCode != 201 || !reflect.DeepEqual(response.Headers["Set-Cookie"], []any{"a=1", "b=2"}) {
		t.Errorf("answered %s", framed)
	}
	if framed := string(answerHTTP([]byte(`{}`))); framed != "Fnothing to do" {
		t.Errorf("answered %s", framed)
	}
	for document, want := range map[string]string{
		`{"Base64Body":"*"}`: "FBase64Body is not base64: ", `{"Headers":"nonsense"}`: "Fthe headers are not a JSON object",
	} {
		if framed := string(answerHTTP([]byte(document))); !strings.HasPrefix(framed, want) {
			t.Errorf("%s: %s", document, framed)
		}
	}
}

func TestTheSixFieldsAreEnoughForARequest(t *testing.T) {
	var got Request
	SetHandleRequest(func(request Request) (Response, error) {
		got = request
		return TextResponse(200, "ok"), nil
	})
	defer unsetHandlers()
	framed := string(answerHTTP([]byte(`{"Body":"b","JSONBody":"","TextBody":"","URI":"http://h:1/p/q?x=1","Method":"GET","Headers":"\"Host\":\"h:1\""}`)))
	want := Request{Method: "GET", URI: "http://h:1/p/q?x=1", Path: "/p/q", Query: "x=1", Header: Header{"Host": {"h:1"}}, Body: []byte("b")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the handler got %+v", got)
	}
	if framed != `S{"JSONBody":{},"TextBody":"b2s=","Headers":{"Content-Type":"text/plain; charset=utf-8"},"StatusCode":200}` {
		t.Errorf("answered %s", framed)
	}
}

func TestTheLaterHTTPHandlerWins(t *testing.T) {
	defer unsetHandlers()
	SetHandleHTTP(func(HTTPRequest) (HTTPResponse, error) { return HTTPResponse{TextBody: "texts"}, nil })
	SetHandleRequest(func(Request) (Response, error) { return Response{Body: []byte("bytes")}, nil })
	if response := readResponse(t, string(answerHTTP([]byte(`{}`)))[1:]); response.TextBody != "bytes" {
		t.Errorf("answered %q", response.TextBody)
	}
	SetHandleHTTP(func(HTTPRequest) (HTTPResponse, error) { return HTTPResponse{TextBody: "texts"}, nil })
	if response := readResponse(t, string(answerHTTP([]byte(`{}`)))[1:]); response.TextBody != "texts" {
		t.Errorf("answered %q", response.TextBody)
	}
}

func TestSplitURI(t *testing.T) {
	for _, test := range [][3]string{
		{"http://h", "/", ""},
		{"http://h?x", "/", "x"},
		{"https://h/a/b?c?d#e", "/a/b", "c?d"},
		{"/a?u=http://x/y", "/a", "u=http://x/y"},
		{"", "/", ""},
	} {
		if path, query := splitURI(test[0]); path != test[1] || query != test[2] {
			t.Errorf("%s: %s, %s", test[0], path, query)
		}
	}
}

func TestSend(t *testing.T) {
	host := UseFakeHost()
	var sent HTTPRequest
	answer := HTTPResponse{TextBody: "\xff\x00\"", Headers: `{"Set-Cookie":["a=1","b=2"]}`, StatusCode: 206}
	host.HTTP = func(request HTTPRequest) (HTTPResponse, error) {
		sent = request
		return answer, nil
	}
	got, err := Send(Request{Method: "PUT", URI: "http://h/", Header: Header{"X-A": {"1", "2"}}, Body: []byte("\xfe")})
	want := Response{StatusCode: 206, Header: Header{"Set-Cookie": {"a=1", "b=2"}}, Body: []byte(answer.TextBody)}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("answered %+v, %v", got, err)
	}
	if sent.TextBody != "\xfe" || sent.Method != "PUT" || sent.Headers != `{"X-A":["1","2"]}` {
		t.Errorf("sent %+v", sent)
	}
	answer = HTTPResponse{JSONBody: `[1]`, StatusCode: 200}
	if got, err := Send(Request{URI: "http://h/"}); err != nil || string(got.Body) != "[1]" || sent.Method != "GET" || sent.Headers != "{}" {
		t.Errorf("answered %+v, %v, sent %+v", got, err, sent)
	}
	answer = HTTPResponse{StatusCode: 204}
	if got, err := Send(Request{URI: "http://h/"}); err != nil || len(got.Body) != 0 || got.StatusCode != 204 {
		t.Errorf("answered %+v, %v", got, err)
	}
	host.HTTP = nil
	if _, err := Send(Request{URI: "http://h/"}); err == nil {
		t.Error("a host without HTTP answered")
	}
}

func TestResponsesOfTextAndJSON(t *testing.T) {
	response := JSONResponse(404, NewObject().Text("error", "none").String())
	if response.StatusCode != 404 || response.Header.Get("content-type") != "application/json; charset=utf-8" || !json.Valid(response.Body) {
		t.Errorf("response %+v", response)
	}
	if Header(nil).String() != "{}" || Header(nil).Get("a") != "" {
		t.Error("a nil header is not empty")
	}
}
