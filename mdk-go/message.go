package capsule

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// Request is an HTTP request whose body may be any bytes and whose headers may repeat: what [SetHandleRequest] hands out and [Send]
// takes. [HTTPRequest] says the same in texts.
type Request struct {
	// Method is written in capitals. Empty is GET when it is sent.
	Method string
	// URI is absolute: scheme, host, path and query.
	URI string
	// Path is the path of the URI, percent escapes kept. Not looked at when the request is sent.
	Path string
	// Query is what follows `?` in the URI, raw. Not looked at when the request is sent.
	Query string
	// ID is the id of the call in the runner's log and in the answer; empty when the runner gives none. Not looked at when the request is sent.
	ID string
	// Header holds the header fields. It may be nil when the request is sent.
	Header Header
	// Body is the body, exactly as it came.
	Body []byte
}

// Response is an HTTP response whose body may be any bytes and whose headers may repeat: what a handler of [SetHandleRequest] returns and
// [Send] gives.
type Response struct {
	// StatusCode is the HTTP status; 0 is 200.
	StatusCode int
	// Header holds the header fields. It may be nil.
	Header Header
	// Body is the body. Runners answer `{}` for an empty one, unless the status has no body (204, 304).
	Body []byte
}

// TextResponse makes a response of a text.
func TextResponse(status int, text string) Response {
	return response(status, "text/plain; charset=utf-8", text)
}

// JSONResponse makes a response of a JSON text, such as that of an [Object].
func JSONResponse(status int, json string) Response {
	return response(status, "application/json; charset=utf-8", json)
}

func response(status int, contentType, body string) Response {
	return Response{StatusCode: status, Header: Header{"Content-Type": {contentType}}, Body: []byte(body)}
}

// SetHandleRequest registers a handler of HTTP requests, instead of one of [SetHandleHTTP]: the later call wins. An error becomes a
// response 500 with its text.
func SetHandleRequest(function func(Request) (Response, error)) {
	handleHTTP = nil
	handleRequest = function
}

// readRequest reads the request document with the fields that the reference's runner does not send, where there are any.
func readRequest(document *fastjson.Value) (Request, error) {
	request := Request{
		Method: string(document.GetStringBytes("Method")),
		URI:    string(document.GetStringBytes("URI")),
		ID:     string(document.GetStringBytes("RequestId")),
		Body:   append([]byte{}, document.GetStringBytes("Body")...),
		Header: Header{},
	}
	if document.Exists("Path") {
		request.Path = string(document.GetStringBytes("Path"))
		request.Query = string(document.GetStringBytes("Query"))
	} else {
		request.Path, request.Query = splitURI(request.URI)
	}
	if list := document.GetArray("HeaderList"); list != nil {
		for _, field := range list {
			request.Header.Add(string(field.GetStringBytes("0")), string(field.GetStringBytes("1")))
		}
	} else if err := visitHeaders(string(document.GetStringBytes("Headers")), request.Header.Add); err != nil {
		return Request{}, err
	}
	exact, err := exactBody(document)
	if err != nil {
		return Request{}, err
	}
	if exact != nil {
		request.Body = exact
	}
	return request, nil
}

// exactBody reads the field that comes with a body that is not UTF-8; nil when there is none.
func exactBody(document *fastjson.Value) ([]byte, error) {
	encoded := document.GetStringBytes("Base64Body")
	if encoded == nil {
		return nil, nil
	}
	body := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	length, err := base64.StdEncoding.Decode(body, encoded)
	if err != nil {
		return nil, errors.New("Base64Body is not base64: " + err.Error())
	}
	return body[:length], nil
}

// splitURI takes path and query out of an absolute URI or a bare path.
func splitURI(uri string) (path, query string) {
	if scheme, rest, absolute := strings.Cut(uri, "://"); absolute && !strings.ContainsAny(scheme, "/?#") {
		uri = ""
		if start := strings.IndexAny(rest, "/?#"); start >= 0 {
			uri = rest[start:]
		}
	}
	uri, _, _ = strings.Cut(uri, "#")
	path, query, _ = strings.Cut(uri, "?")
	if path == "" {
		path = "/"
	}
	return path, query
}

// Send sends a request through the host and waits for the answer. An error says why there is no answer; any status is an answer.
func Send(request Request) (Response, error) {
	headers := ""
	if request.Header != nil {
		headers = request.Header.String()
	}
	answer, err := exchange(HTTPRequest{
		Method: request.Method, URI: request.URI, Headers: headers, TextBody: textOf(request.Body),
	})
	if err != nil {
		return Response{}, err
	}
	response := Response{StatusCode: answer.GetInt("StatusCode"), Header: Header{}}
	if headers := answer.Get("Headers"); headers != nil {
		response.Header = readHeader(headers.String())
	}
	if response.Body, err = exactBody(answer); err != nil {
		return Response{}, err
	}
	if response.Body != nil {
		return response, nil
	}
	if body := answer.Get("JSONBody"); body != nil {
		response.Body = []byte(body.String())
	} else {
		response.Body = append([]byte{}, answer.GetStringBytes("TextBody")...)
	}
	return response, nil
}

// exchange sends an outbound request and reads the answer's document.
func exchange(request HTTPRequest) (*fastjson.Value, error) {
	document, err := outboundDocument(request)
	if err != nil {
		return nil, err
	}
	answer, err := Result(hostHTTP(document))
	if err != nil {
		return nil, err
	}
	var parser fastjson.Parser
	value, err := parser.ParseBytes(answer)
	if err != nil {
		return nil, notJSON("the host's answer", err)
	}
	return value, nil
}

// outboundDocument writes the request document of [HTTP] and [Send].
func outboundDocument(request HTTPRequest) ([]byte, error) {
	if request.JSONBody != "" && !isOneValue(request.JSONBody) {
		return nil, errors.New("the request's JSONBody is not one JSON value")
	}
	if request.Headers != "" && !isOneValue(request.Headers) {
		return nil, errors.New("the request's Headers are not a JSON object")
	}
	text := request.TextBody
	if text == "" && request.JSONBody == "" {
		text = request.Body
	}
	method := request.Method
	if method == "" {
		method = "GET"
	}
	document := NewObject()
	if request.JSONBody != "" {
		document.Text("TextBody", "").JSON("JSONBody", request.JSONBody)
	} else {
		document.Text("TextBody", text)
		if !utf8.ValidString(text) {
			document.Text("Base64Body", base64.StdEncoding.EncodeToString(bytesOf(text)))
		}
	}
	document.Text("URI", request.URI).JSON("Headers", orEmptyObject(request.Headers)).Text("Method", method)
	return bytesOf(document.String()), nil
}
