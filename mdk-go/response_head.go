package capsule

import (
	"errors"
	"sort"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"
)

// Responses as bytes: the head that callHandleRequest answers with (docs/abi.md, section 3), made so that a client gets what it would get of
// the response document.

// What runners say of a body whose type a response document does not name.
const (
	textType = "text/plain; charset=utf-8"
	jsonType = "application/json"
)

// failureHead is the head of a failure, whose body is its text.
var failureHead = make([]byte, 2*numberSize)

// responseHead writes the head of a response. Header fields are names and values in turn; when a content type is given, and no field of that
// name, it is one more.
func responseHead(status int, fields []string, contentType string) []byte {
	if contentType != "" && !hasContentType(fields) {
		fields = append(fields, "Content-Type", contentType)
	}
	size := (2 + len(fields)) * numberSize
	for _, text := range fields {
		size += len(text)
	}
	head := make([]byte, 0, size)
	head = appendNumber(head, uint32(status))
	head = appendNumber(head, uint32(len(fields)/2))
	for _, text := range fields {
		head = appendNumber(head, uint32(len(text)))
	}
	for _, text := range fields {
		head = append(head, text...)
	}
	return head
}

func hasContentType(fields []string) bool {
	for index := 0; index < len(fields); index += 2 {
		if strings.EqualFold(fields[index], "Content-Type") {
			return true
		}
	}
	return false
}

// fields are the names and values of a header in turn, names sorted. As in its text, bytes that are not UTF-8 become U+FFFD.
func (h Header) fields() []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	if len(names) > 1 {
		sort.Strings(names)
	}
	fields := make([]string, 0, 2*len(names)+2)
	for _, name := range names {
		for _, value := range h[name] {
			fields = append(fields, validText(name), validText(value))
		}
	}
	return fields
}

// headersParser and lastHead serve all calls: most responses of a function have the same head.
var (
	headersParser fastjson.Parser
	lastHead      struct {
		status               int
		headers, contentType string
		written              []byte
	}
)

// lastHeadKeeps is how long a Headers text may be that is remembered.
const lastHeadKeeps = 4 << 10

// responseHeadOf is the head of a response with this Headers text. It may be that of the call before and is not to be changed.
func responseHeadOf(status int, headers, contentType string) ([]byte, error) {
	last := &lastHead
	if last.written != nil && last.status == status && last.headers == headers && last.contentType == contentType {
		return last.written, nil
	}
	fields, err := parseFields(headers)
	if err != nil {
		return nil, err
	}
	head := responseHead(status, fields, contentType)
	if len(headers) > lastHeadKeeps {
		headersParser = fastjson.Parser{}
		return head, nil
	}
	last.status, last.headers, last.contentType, last.written = status, strings.Clone(headers), contentType, head
	return head, nil
}

// parseFields reads the Headers text of a response as runners do: values are texts, arrays of texts, or null for none. The result is good
// until the next call of parseFields.
func parseFields(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if _, valid := compactJSON(text); !valid {
		return nil, errResponseHeaders
	}
	parsed, err := headersParser.Parse(text)
	if err != nil || parsed.Type() != fastjson.TypeObject && parsed.Type() != fastjson.TypeNull {
		return nil, errResponseHeaders
	}
	object := parsed.GetObject()
	if object == nil {
		return nil, nil
	}
	fields := make([]string, 0, 2*object.Len()+2)
	wrong := ""
	object.Visit(func(key []byte, value *fastjson.Value) {
		name := textOf(key)
		values := []*fastjson.Value{value}
		if value.Type() == fastjson.TypeArray {
			values = value.GetArray()
		} else if value.Type() == fastjson.TypeNull {
			return
		}
		for _, value := range values {
			if value.Type() != fastjson.TypeString {
				wrong = name
				return
			}
			fields = append(fields, name, textOf(value.GetStringBytes()))
		}
	})
	if wrong != "" {
		return nil, errors.New("the value of `" + wrong + "` in the response's Headers is no text and no array of texts")
	}
	return fields, nil
}

// statusOf is the status that a response stands for.
func statusOf(code int) (int, error) {
	if code == 0 {
		return 200, nil
	}
	if code < 200 || code > 999 {
		return 0, errors.New("the response's StatusCode is " + strconv.Itoa(code) + ", expected 200 to 999, or 0 for 200")
	}
	return code, nil
}

// typeFor is the content type for a status: none where there is no body that it could describe.
func typeFor(status int, contentType string) string {
	if status == 204 || status == 304 {
		return ""
	}
	return contentType
}

// bytesOfResponse is a response as head and body. The body is not copied.
func bytesOfResponse(response Response) (head, body []byte, err error) {
	status, err := statusOf(response.StatusCode)
	if err != nil {
		return nil, nil, err
	}
	body, contentType := response.Body, textType
	if len(body) == 0 {
		body, contentType = bytesOf("{}"), jsonType
	}
	return responseHead(status, response.Header.fields(), typeFor(status, contentType)), body, nil
}

// bytesOfHTTPResponse is a response of texts as head and body. The body is not copied unless it is JSON with white space.
func bytesOfHTTPResponse(response HTTPResponse) (head, body []byte, err error) {
	status, err := statusOf(response.StatusCode)
	if err != nil {
		return nil, nil, err
	}
	json := "{}"
	if response.JSONBody != "" {
		compact, valid := compactJSON(response.JSONBody)
		if !valid {
			return nil, nil, errJSONBody
		}
		if compact != "null" {
			json = compact
		}
	}
	text, contentType := response.TextBody, textType
	if text == "" {
		text, contentType = json, jsonType
	}
	head, err = responseHeadOf(status, response.Headers, typeFor(status, contentType))
	return head, bytesOf(text), err
}
