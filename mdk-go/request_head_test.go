//go:build !wasm

package capsule

import (
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"strings"
	"testing"
)

var plainRequest = sent{
	method: "POST", scheme: "http", host: "h:1", path: "/a", query: "b=1", id: "r1", headers: [][2]string{{"host", "h:1"}}, body: "body",
}

// seen are what handlers of both kinds get of a head.
func seen(t *testing.T, head []byte, body string) (HTTPRequest, Request) {
	t.Helper()
	texts, err := httpRequestOf(head, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	request, err := requestOf(head, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return texts, request
}

func TestAHeadIsLengthsAndThenBytes(t *testing.T) {
	head := "\x06\x00\x00\x00\x02\x00\x00\x00" + "\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00\x06\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00" +
		"\x04\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00" + "POSThttph:1/a?b=1r1hosth:1a"
	texts, request := seen(t, []byte(head), "x\xff")
	if want := (HTTPRequest{Body: "x\xff", URI: "http://h:1/a?b=1", Method: "POST", Headers: `"Host":"h:1","A":""`}); texts != want {
		t.Errorf("texts %+v", texts)
	}
	want := Request{
		Method: "POST", URI: "http://h:1/a?b=1", Path: "/a", Query: "b=1", ID: "r1", Header: Header{"Host": {"h:1"}, "A": {""}}, Body: []byte("x\xff"),
	}
	if !reflect.DeepEqual(request, want) {
		t.Errorf("request %+v", request)
	}
}

func TestHeadersOfAHead(t *testing.T) {
	many, manyText, manyHeader := [][2]string{}, []string{}, Header{}
	for index := 0; index < 300; index++ {
		many = append(many, [2]string{fmt.Sprintf("x-h%d", index), strings.Repeat("v", index)})
		manyText = append(manyText, fmt.Sprintf(`"X-H%d":"%s"`, index, strings.Repeat("v", index)))
		manyHeader[fmt.Sprintf("X-H%d", index)] = []string{strings.Repeat("v", index)}
	}
	for _, test := range []struct {
		headers [][2]string
		text    string
		header  Header
	}{
		{nil, ``, Header{}},
		{[][2]string{{"accept", "*/*"}}, `"Accept":"*/*"`, Header{"Accept": {"*/*"}}},
		{[][2]string{{"X-GITLAB-token", "t"}, {"te", ""}}, `"X-Gitlab-Token":"t","Te":""`, Header{"X-Gitlab-Token": {"t"}, "Te": {""}}},
		{[][2]string{{"accept", "a"}, {"accept", "b"}, {"accept", "c"}, {"b", "d"}}, `"Accept":"a, b, c","B":"d"`,
			Header{"Accept": {"a", "b", "c"}, "B": {"d"}}},
		{[][2]string{{"cookie", "a=1"}, {"cookie", "b=2"}}, `"Cookie":"a=1; b=2"`, Header{"Cookie": {"a=1", "b=2"}}},
		{[][2]string{{"a", "1"}, {"b", "2"}, {"a", "3"}}, `"A":"1","B":"2","A":"3"`, Header{"A": {"1", "3"}, "B": {"2"}}},
		{[][2]string{{"sec-ch-ua", "\"Chromium\";v=\"1\", \\\t"}}, `"Sec-Ch-Ua":"\"Chromium\";v=\"1\", \\\t"`,
			Header{"Sec-Ch-Ua": {"\"Chromium\";v=\"1\", \\\t"}}},
		{[][2]string{{"x", "é 👋"}, {"y", "\xff\xe2\x82a"}}, `"X":"é 👋","Y":"` + "\ufffd\ufffd\ufffd" + `a"`,
			Header{"X": {"é 👋"}, "Y": {"\ufffd\ufffd\ufffda"}}},
		{[][2]string{{"", "v"}, {"", "w"}}, `"":"v, w"`, Header{"": {"v", "w"}}},
		{[][2]string{{"a\"b\n", "v"}, {"\xff", "w"}}, `"A\"b\n":"v","` + "\ufffd" + `":"w"`, Header{"A\"b\n": {"v"}, "\ufffd": {"w"}}},
		{many, strings.Join(manyText, ","), manyHeader},
	} {
		head := headOf([]string{"GET"}, test.headers)
		before := string(head)
		texts, request := seen(t, head, "")
		if texts.Headers != test.text {
			t.Errorf("text %s, want %s", texts.Headers, test.text)
		}
		if !reflect.DeepEqual(request.Header, test.header) {
			t.Errorf("header %q, want %q", request.Header, test.header)
		}
		if texts.Method != "GET" || string(head) != before {
			t.Errorf("the head is %q now, was %q", head, before)
		}
	}
}

func TestFieldsOfAHead(t *testing.T) {
	headers := [][2]string{{"a", "b"}}
	for _, test := range []struct {
		fields []string
		want   Request
	}{
		{nil, Request{URI: "://"}},
		{[]string{"GET"}, Request{Method: "GET", URI: "://"}},
		{[]string{"GET", "https", "h", "/", "id", ""}, Request{Method: "GET", URI: "https://h/", Path: "/", ID: "id"}},
		{[]string{"GET", "https", "é", "/ü?", "", "/functions/f/x/"}, Request{Method: "GET", URI: "https://é/ü?", Path: "/ü"}},
		{[]string{"M", "http", "h", "/p?a?b#c", "id", "", "later", "\xff"},
			Request{Method: "M", URI: "http://h/p?a?b#c", Path: "/p", Query: "a?b#c", ID: "id"}},
	} {
		test.want.Header, test.want.Body = Header{"A": {"b"}}, []byte{}
		texts, request := seen(t, headOf(test.fields, headers), "")
		if !reflect.DeepEqual(request, test.want) {
			t.Errorf("%q: %+v", test.fields, request)
		}
		if want := (HTTPRequest{Method: test.want.Method, URI: test.want.URI, Headers: `"A":"b"`}); texts != want {
			t.Errorf("%q: %+v", test.fields, texts)
		}
	}
}

func TestBrokenHeadsAreErrors(t *testing.T) {
	const number, enough, text, sum = "a number", "as many bytes as it says", "a field that is text", "headers of the lengths that it says"
	for _, test := range []struct {
		head     []byte
		expected string
	}{
		{nil, number},
		{[]byte("\x00\x00\x00"), number},
		{words(0), number},
		{words(0, 1), enough},
		{words(1, 0), enough},
		{words(1, 0, 1), enough},
		{words(2, 0, 0), enough},
		{words(7, 0, 0, 0, 0, 0, 0, 0, 9), enough},
		{words(1, 0, math.MaxUint32), enough},
		{words(math.MaxUint32, 0), enough},
		{words(0, math.MaxUint32), enough},
		{words(1<<30, 0), enough},
		{words(0, 1<<29), enough},
		{append(words(1, 0, 1), 0xff), text},
		{words(0, 0, 0), sum},
		{append(words(0, 1, 1, 1), 'a'), sum},
		{append(words(0, 1, 1, 1), "abc"...), sum},
		{words(0, 1, math.MaxUint32, 1), sum},
		{append(words(0, 2, math.MaxUint32, 1, 0, 0), "ab"...), sum},
	} {
		want := "the head of the request is not valid: expected " + test.expected
		if _, err := httpRequestOf(test.head, nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", test.head, err, want)
		}
		if _, err := requestOf(test.head, nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", test.head, err, want)
		}
	}
	whole := plainRequest.head()
	for length := range whole {
		if _, err := parseHead(whole[:length]); err == nil {
			t.Errorf("the first %d bytes of %q are a head", length, whole)
		}
	}
}

func TestWhatAHandlerKeepsOutlivesTheHead(t *testing.T) {
	head, body := plainRequest.head(), []byte(plainRequest.body)
	texts, err := httpRequestOf(head, body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := requestOf(head, body)
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf("%+v %+v", texts, request)
	for _, part := range [][]byte{head, body} {
		for index := range part {
			part[index] = '!'
		}
	}
	if after := fmt.Sprintf("%+v %+v", texts, request); after != before {
		t.Errorf("%s became %s", before, after)
	}
}

func TestAHeadIsReadWithFewAllocations(t *testing.T) {
	request := plainRequest
	for index := 0; index < 12; index++ {
		request.headers = append(request.headers, [2]string{fmt.Sprintf("x-header-%d", index), "a value"})
	}
	head, body := request.head(), []byte(request.body)
	if count := testing.AllocsPerRun(100, func() { _, _ = httpRequestOf(head, body) }); count > 2 {
		t.Errorf("%v allocations for texts", count)
	}
	// The header is a map.
	if count := testing.AllocsPerRun(100, func() { _, _ = requestOf(head, body) }); count > 10 {
		t.Errorf("%v allocations for bytes", count)
	}
}

// randomText has what is special somewhere: in JSON, in UTF-8, in headers.
func randomText(random *rand.Rand, length int) string {
	alphabet := []string{"a", "B", "-", "-x", ":", ",", " ", "\"", "\\", "{", "}", "\t", "\n", "\x00", "\b", "\f", "\x1f", "\x7f", "é", "👋", "\u2028", "\ufffd"}
	text := ""
	for index := random.Intn(length + 1); index > 0; index-- {
		text += alphabet[random.Intn(len(alphabet))]
	}
	return text
}

// randomRequest has no bytes that are not UTF-8 but those of its body, which says so.
func randomRequest(random *rand.Rand) sent {
	part := func() string { return randomText(random, 6) }
	request := sent{
		method: part(), scheme: "http", host: strings.NewReplacer("?", "", "\n", "").Replace(part()), path: "/" + part(), query: part(), id: part(),
		target: part(), body: randomText(random, 40),
	}
	for index := random.Intn(8); index > 0; index-- {
		name := []string{"cookie", "accept", "x-a-b", "content-type", part()}[random.Intn(5)]
		for repeated := random.Intn(3); repeated >= 0; repeated-- {
			request.headers = append(request.headers, [2]string{name, part()})
		}
	}
	return request
}

func TestBothExportsShowHandlersTheSame(t *testing.T) {
	defer unsetHandlers()
	random := rand.New(rand.NewSource(1))
	for round := 0; round < 20_000; round++ {
		request := randomRequest(random)
		var texts []HTTPRequest
		SetHandleHTTP(func(request HTTPRequest) (HTTPResponse, error) {
			texts = append(texts, request)
			return HTTPResponse{}, nil
		})
		answerHTTP(request.document())
		answerRequest(request.head(), []byte(request.body))
		if len(texts) != 2 || texts[0] != texts[1] {
			t.Fatalf("%+v: %+v", request, texts)
		}
		if round%2 == 0 {
			request.body += "\xff\x00"
		}
		var requests []Request
		SetHandleRequest(func(request Request) (Response, error) {
			requests = append(requests, request)
			return Response{}, nil
		})
		answerHTTP(request.document())
		answerRequest(request.head(), []byte(request.body))
		if len(requests) != 2 || !reflect.DeepEqual(requests[0], requests[1]) || string(requests[0].Body) != request.body {
			t.Fatalf("%+v: %+v", request, requests)
		}
	}
}

func FuzzHeadsNeverPanic(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(plainRequest.head(), []byte("body"))
	f.Add(words(0, 1, math.MaxUint32, 1), []byte{0xff})
	f.Add(append(words(7, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1), "1234567ab"...), []byte{})
	f.Fuzz(func(t *testing.T, head, body []byte) {
		SetHandleHTTP(func(request HTTPRequest) (HTTPResponse, error) {
			if _, err := ParseHeader(request.Headers); err != nil || request.Body != string(body) {
				t.Fatalf("headers %s: %v", request.Headers, err)
			}
			return HTTPResponse{TextBody: request.Body, JSONBody: request.Method, Headers: request.Header().String()}, nil
		})
		ofBytes(t, first(answerRequest(head, body)), nil)
		SetHandleRequest(func(request Request) (Response, error) {
			return Response{Header: request.Header, Body: request.Body}, nil
		})
		answerHead, answerBody := answerRequest(head, body)
		if answer := ofBytes(t, answerHead, answerBody); answer != failed && len(body) > 0 && answer.body != string(body) {
			t.Fatalf("answered %+v", answer)
		}
		unsetHandlers()
	})
}

func first(head, _ []byte) []byte { return head }
