package capsule

import (
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/valyala/fastjson"
)

// HTTPRequest is a request: the one that an HTTP handler gets, or an outbound one for [HTTP].
type HTTPRequest struct {
	// Body is the body of a request that a handler gets, as text. Bytes that are not UTF-8 are as they came, or U+FFFD where the runner only
	// knows documents.
	Body string
	// JSONBody is the body of an outbound request as JSON text; sent when not empty.
	JSONBody string
	// TextBody is the body of an outbound request as text; sent when JSONBody is empty.
	TextBody string
	// URI is absolute: scheme, host, path and query.
	URI string
	// Method is written in capitals. Empty is GET in an outbound request.
	Method string
	// Headers are read with [GetHeaders] or [HTTPRequest.Header] and, for an outbound request, made with [SetHeaders] or
	// [Header.String].
	Headers string
}

// HTTPResponse is a response: what an HTTP handler returns, or the answer to [HTTP].
type HTTPResponse struct {
	// JSONBody is the body as JSON text. Used when TextBody is empty.
	JSONBody string
	// TextBody is the body as text. In an answer to [HTTP] it is a JSON string, quotes included: read it with [HTTPResponse.Text].
	TextBody string
	// Headers is a JSON object as text. Empty is none.
	Headers string
	// StatusCode is the HTTP status; 0 is 200.
	StatusCode int
}

// Header reads the request's header fields. Headers that cannot be read are none.
func (r HTTPRequest) Header() Header {
	return readHeader(r.Headers)
}

// Header reads the response's header fields. Headers that cannot be read are none.
func (r HTTPResponse) Header() Header {
	return readHeader(r.Headers)
}

func readHeader(text string) Header {
	header, err := ParseHeader(text)
	if err != nil {
		return Header{}
	}
	return header
}

// Text is the text that the other side of [HTTP] sent: TextBody without the JSON quotes, or JSONBody when there is no text.
func (r HTTPResponse) Text() string {
	if r.TextBody == "" {
		return r.JSONBody
	}
	var parser fastjson.Parser
	value, err := parser.Parse(r.TextBody)
	if err != nil || value.Type() != fastjson.TypeString {
		return r.TextBody
	}
	return string(value.GetStringBytes())
}

// requestParser keeps its memory from call to call, unless a document was larger than this many bytes.
const requestParserKeeps = 64 << 10

var requestParser fastjson.Parser

// parseDocument reads a request document. The value is good until the next call of parseDocument.
func parseDocument(document []byte) (*fastjson.Value, error) {
	value, err := requestParser.ParseBytes(document)
	if len(document) > requestParserKeeps {
		requestParser = fastjson.Parser{}
	}
	if err != nil {
		return nil, notJSON("the request document", err)
	}
	return value, nil
}

// readHTTPRequest takes the request out of its document. The strings are copies.
func readHTTPRequest(document *fastjson.Value) HTTPRequest {
	return HTTPRequest{
		Body:     string(document.GetStringBytes("Body")),
		JSONBody: string(document.GetStringBytes("JSONBody")),
		TextBody: string(document.GetStringBytes("TextBody")),
		URI:      string(document.GetStringBytes("URI")),
		Method:   string(document.GetStringBytes("Method")),
		Headers:  string(document.GetStringBytes("Headers")),
	}
}

var (
	errJSONBody        = errors.New("the response's JSONBody is not one JSON value")
	errResponseHeaders = errors.New("the response's Headers are not a JSON object")
)

// checkResponse finds what would break the response document.
func checkResponse(response HTTPResponse) error {
	if response.JSONBody != "" && !isOneValue(response.JSONBody) {
		return errJSONBody
	}
	if response.Headers != "" && !isOneValue(response.Headers) {
		return errResponseHeaders
	}
	return nil
}

// appendResponse writes the response document, after a first byte of its own when that is not 0. The buffer is made once, in its
// final size: bodies may be megabytes.
func appendResponse(first byte, response HTTPResponse) []byte {
	encoded := base64.StdEncoding.EncodedLen(len(response.TextBody))
	out := make([]byte, 0, len(response.JSONBody)+encoded+len(response.Headers)+80)
	if first != 0 {
		out = append(out, first)
	}
	out = append(out, `{"JSONBody":`...)
	out = append(out, orEmptyObject(response.JSONBody)...)
	out = append(out, `,"TextBody":"`...)
	text := len(out)
	out = out[:text+encoded]
	base64.StdEncoding.Encode(out[text:], bytesOf(response.TextBody))
	out = append(out, `","Headers":`...)
	out = append(out, orEmptyObject(response.Headers)...)
	out = append(out, `,"StatusCode":`...)
	out = strconv.AppendInt(out, int64(response.StatusCode), 10)
	return append(out, '}')
}

func orEmptyObject(json string) string {
	if json == "" {
		return "{}"
	}
	return json
}

// StringifyHTTPResponse makes the document that OnHealthCheck and OnMetrics return with [Success]. A response whose JSONBody or
// Headers are not JSON becomes a response 500 that says so.
func StringifyHTTPResponse(response HTTPResponse) string {
	if err := checkResponse(response); err != nil {
		response = HTTPResponse{TextBody: err.Error(), StatusCode: 500}
	}
	return string(appendResponse(0, response))
}

// HTTP sends a request through the host and waits for the answer. An error says why there is no answer; any status is an answer.
//
// In the answer, JSONBody is set when the other side said that it sends JSON, else TextBody, which then is a JSON string (see
// [HTTPResponse.Text]).
func HTTP(request HTTPRequest) (HTTPResponse, error) {
	value, err := exchange(request)
	if err != nil {
		return HTTPResponse{}, err
	}
	response := HTTPResponse{StatusCode: value.GetInt("StatusCode")}
	if body := value.Get("JSONBody"); body != nil {
		response.JSONBody = body.String()
	}
	if body := value.Get("TextBody"); body != nil && body.String() != `""` {
		response.TextBody = body.String()
	}
	if headers := value.Get("Headers"); headers != nil {
		response.Headers = headers.String()
	}
	return response, nil
}
