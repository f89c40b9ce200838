//go:build !wasm

package capsule

import (
	"encoding/binary"
	"errors"
	"math/rand"
	"strings"
	"testing"
)

// bothAnswers asks a handler of texts through both exports.
func bothAnswers(t *testing.T, response HTTPResponse) (ofTheDocument, ofTheBytes answered, reason string) {
	t.Helper()
	SetHandleHTTP(func(HTTPRequest) (HTTPResponse, error) { return response, nil })
	defer unsetHandlers()
	head, body := answerRequest(plainRequest.head(), nil)
	return ofDocument(t, answerHTTP([]byte(`{}`))), ofBytes(t, head, body), string(body)
}

func TestResponsesOfTextsAreTheSameThroughBothExports(t *testing.T) {
	const asJSON, asText = `["Content-Type" "application/json"]`, `["Content-Type" "text/plain; charset=utf-8"]`
	for _, test := range []struct {
		response HTTPResponse
		want     answered
	}{
		{HTTPResponse{}, answered{200, `[` + asJSON + `]`, `{}`}},
		{HTTPResponse{JSONBody: ` null `}, answered{200, `[` + asJSON + `]`, `{}`}},
		{HTTPResponse{JSONBody: ` "null" `}, answered{200, `[` + asJSON + `]`, `"null"`}},
		{HTTPResponse{JSONBody: "\n{\"z\": 1.50, \"a b\\\" \" : [ 1e400 ]}\t", StatusCode: 201}, answered{201, `[` + asJSON + `]`, `{"z":1.50,"a b\" ":[1e400]}`}},
		{HTTPResponse{TextBody: "a \xff\x00", JSONBody: `{"a":1}`, StatusCode: 999}, answered{999, `[` + asText + `]`, "a \xff\x00"}},
		{HTTPResponse{TextBody: " "}, answered{200, `[` + asText + `]`, " "}},
		{HTTPResponse{Headers: `null`}, answered{200, `[` + asJSON + `]`, `{}`}},
		{HTTPResponse{Headers: ` { } `}, answered{200, `[` + asJSON + `]`, `{}`}},
		{HTTPResponse{Headers: `{"content-TYPE":"a/b"}`}, answered{200, `[["content-TYPE" "a/b"]]`, `{}`}},
		{HTTPResponse{Headers: `{"Content-Type":[],"N":null,"E":""}`}, answered{200, `[["E" ""] ` + asJSON + `]`, `{}`}},
		{HTTPResponse{TextBody: "x", Headers: `{"Set-Cookie":["a=1","b=2"],"X-Ü":"\u00e9\"\\👋","A":"1","A":"2"}`},
			answered{200, `[["Set-Cookie" "a=1"] ["Set-Cookie" "b=2"] ["X-Ü" "é\"\\👋"] ["A" "1"] ["A" "2"] ` + asText + `]`, "x"}},
		{HTTPResponse{StatusCode: 204, TextBody: "x"}, answered{204, `[]`, "x"}},
		{HTTPResponse{StatusCode: 304, Headers: `{"A":"b"}`}, answered{304, `[["A" "b"]]`, "{}"}},
	} {
		document, bytes, _ := bothAnswers(t, test.response)
		if bytes != test.want || document != test.want {
			t.Errorf("%+v: bytes  %+v\ndocument %+v\nwant     %+v", test.response, bytes, document, test.want)
		}
	}
}

func TestResponsesThatBreakTheRulesFailThroughBothExports(t *testing.T) {
	const notJSON = "the response's JSONBody is not one JSON value"
	const noObject = "the response's Headers are not a JSON object"
	for _, test := range []struct {
		response HTTPResponse
		reason   string
	}{
		{HTTPResponse{JSONBody: `{},"StatusCode":204`}, notJSON},
		{HTTPResponse{JSONBody: `{"a":}`}, notJSON},
		{HTTPResponse{JSONBody: `{"a":"` + "\n" + `"}`}, notJSON},
		{HTTPResponse{JSONBody: "\"\xff\""}, notJSON},
		{HTTPResponse{JSONBody: ` `}, notJSON},
		{HTTPResponse{JSONBody: `{`, TextBody: "wins"}, notJSON},
		{HTTPResponse{Headers: `"A":"b"`}, noObject},
		{HTTPResponse{Headers: `[]`}, noObject},
		{HTTPResponse{Headers: `{"A":"b",}`}, noObject},
		{HTTPResponse{Headers: `{"A":"` + "\n" + `"}`}, noObject},
		{HTTPResponse{Headers: `{"A":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}`}, noObject},
		{HTTPResponse{Headers: `{"A":1}`}, "the value of `A` in the response's Headers is no text and no array of texts"},
		{HTTPResponse{Headers: `{"A":["b",null]}`}, "the value of `A` in the response's Headers is no text and no array of texts"},
		{HTTPResponse{StatusCode: 199}, "the response's StatusCode is 199, expected 200 to 999, or 0 for 200"},
		{HTTPResponse{StatusCode: 1000}, "the response's StatusCode is 1000, expected 200 to 999, or 0 for 200"},
		{HTTPResponse{StatusCode: -1}, "the response's StatusCode is -1, expected 200 to 999, or 0 for 200"},
	} {
		document, bytes, reason := bothAnswers(t, test.response)
		if bytes != failed || document != failed || reason != test.reason {
			t.Errorf("%+v: bytes %+v, document %+v, reason %q", test.response, bytes, document, reason)
		}
	}
}

func TestResponsesOfBytesAreTheSameThroughBothExports(t *testing.T) {
	defer unsetHandlers()
	random := rand.New(rand.NewSource(2))
	for round := 0; round < 20_000; round++ {
		response := Response{StatusCode: []int{0, 200, 204, 304, 500, 999, 199, -5, 1000}[random.Intn(9)], Body: []byte(randomText(random, 20))}
		if random.Intn(8) > 0 {
			response.Header = Header{}
		}
		for index := random.Intn(4); response.Header != nil && index > 0; index-- {
			name := []string{"Set-Cookie", "content-type", "Content-Type", randomText(random, 3) + "\xff"}[random.Intn(4)]
			response.Header[name] = []string{"v", randomText(random, 5) + "\xe2\x82", ""}[:random.Intn(4)]
		}
		SetHandleRequest(func(Request) (Response, error) { return response, nil })
		head, body := answerRequest(plainRequest.head(), nil)
		document, bytes := ofDocument(t, answerHTTP([]byte(`{}`))), ofBytes(t, head, body)
		if document != bytes {
			t.Fatalf("%+v: bytes %+v\ndocument %+v", response, bytes, document)
		}
		if len(response.Body) > 0 && document != failed && &body[0] != &response.Body[0] {
			t.Fatal("the body was copied")
		}
	}
}

func TestFailuresOfBothHandlersAreTheirTexts(t *testing.T) {
	defer unsetHandlers()
	for _, set := range []func(error){
		func(err error) {
			SetHandleHTTP(func(HTTPRequest) (HTTPResponse, error) { return HTTPResponse{TextBody: "ignored"}, err })
		},
		func(err error) { SetHandleRequest(func(Request) (Response, error) { return Response{}, err }) },
	} {
		for _, reason := range []string{"redis: nil\nredis: nil", ""} {
			set(errors.New(reason))
			head, body := answerRequest(plainRequest.head(), nil)
			if ofBytes(t, head, body) != failed || string(body) != reason {
				t.Errorf("answered %q, %q", head, body)
			}
		}
		set(errors.New("not called"))
		head, body := answerRequest([]byte("broken"), nil)
		if ofBytes(t, head, body) != failed || !strings.HasPrefix(string(body), "the head of the request is not valid: ") {
			t.Errorf("answered %q, %q", head, body)
		}
	}
}

func TestBothExportsSayTheSameOfAHandlerThatIsNotSet(t *testing.T) {
	unsetHandlers()
	head, body := answerRequest(plainRequest.head(), nil)
	if framed := string(answerHTTP([]byte(`{}`))); ofBytes(t, head, body) != failed || "F"+string(body) != framed {
		t.Errorf("bytes say %s, the document %s", body, framed)
	}
}

func TestTheLastHeadIsOnlyUsedForTheSameResponse(t *testing.T) {
	defer unsetHandlers()
	long := `{"A":"` + strings.Repeat("x", lastHeadKeeps) + `"}`
	for _, response := range []HTTPResponse{
		{Headers: `{"A":"1"}`}, {Headers: `{"A":"1"}`}, {Headers: `{"A":"2"}`}, {Headers: `{"A":"2"}`, TextBody: "x"},
		{Headers: `{"A":"2"}`, StatusCode: 404}, {Headers: `{"A":1}`}, {Headers: `{"A":"2"}`, StatusCode: 404}, {Headers: long}, {}, {Headers: long},
	} {
		if document, bytes, _ := bothAnswers(t, response); document != bytes {
			t.Errorf("%.40q: bytes %.80q\ndocument %.80q", response, bytes, document)
		}
	}
	if len(lastHead.headers) > lastHeadKeeps {
		t.Error("a long text is remembered")
	}
	bothAnswers(t, HTTPResponse{Headers: `{"A":"1"}`})
	count := testing.AllocsPerRun(100, func() { _, _, _ = bytesOfHTTPResponse(HTTPResponse{Headers: `{"A":"1"}`, JSONBody: `{"a":1}`}) })
	if count > 0 {
		t.Errorf("%v allocations for the same head", count)
	}
}

func TestTheRecordSaysWhereAnAnswerLies(t *testing.T) {
	for _, body := range []string{"body", ""} {
		releaseHeld()
		head, answer := []byte("head"), []byte(body)
		packed := packAnswer(head, answer)
		if uint32(packed) != 16 || uint32(packed>>32) != address(record[:]) {
			t.Errorf("packed as %x", packed)
		}
		want := [4]uint32{address(head), 4, address(answer), uint32(len(body))}
		if body == "" {
			want[2] = 0
		}
		for index, number := range want {
			if got := binary.LittleEndian.Uint32(record[4*index:]); got != number {
				t.Errorf("number %d is %x, want %x", index, got, number)
			}
		}
		if &held[0][0] != &head[0] || body != "" && &held[1][0] != &answer[0] {
			t.Error("a part is not held")
		}
	}
	releaseHeld()
}
