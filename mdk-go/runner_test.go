//go:build !wasm

package capsule

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What runners do with requests and answers of both HTTP exports (docs/abi.md, section 3).

// sent is a request as a runner has it.
type sent struct {
	method, scheme, host, path, query, id, target string
	headers                                       [][2]string
	body                                          string
}

func words(numbers ...uint32) []byte {
	out := []byte{}
	for _, number := range numbers {
		out = binary.LittleEndian.AppendUint32(out, number)
	}
	return out
}

// headOf writes a head of any fields.
func headOf(fields []string, headers [][2]string) []byte {
	head := words(uint32(len(fields)), uint32(len(headers)))
	texts := ""
	for _, field := range fields {
		head = append(head, words(uint32(len(field)))...)
		texts += field
	}
	for _, header := range headers {
		head = append(head, words(uint32(len(header[0])), uint32(len(header[1])))...)
		texts += header[0] + header[1]
	}
	return append(head, texts...)
}

func (s sent) pathAndQuery() string {
	if s.query == "" {
		return s.path
	}
	return s.path + "?" + s.query
}

// head is what callHandleRequest gets beside the body.
func (s sent) head() []byte {
	return headOf([]string{s.method, s.scheme, s.host, s.pathAndQuery(), s.id, s.target}, s.headers)
}

// document is what callHandleHTTP gets.
func (s sent) document() []byte {
	list := [][2]string{}
	for _, header := range s.headers {
		list = append(list, [2]string{inTitleCase(header[0]), header[1]})
	}
	fields := map[string]any{
		"Body": s.body, "JSONBody": "", "TextBody": "", "URI": s.scheme + "://" + s.host + s.pathAndQuery(), "Method": s.method,
		"Headers": s.headersText(), "Path": s.path, "Query": s.query, "RequestId": s.id, "HeaderList": list,
	}
	if s.target != "" {
		fields["Target"] = s.target
	}
	if !utf8.ValidString(s.body) {
		fields["Base64Body"] = base64.StdEncoding.EncodeToString([]byte(s.body))
	}
	document, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return document
}

// headersText is the Headers text, where equal names follow each other.
func (s sent) headersText() string {
	pairs := []string{}
	for index := 0; index < len(s.headers); {
		name := s.headers[index][0]
		values := []string{}
		for ; index < len(s.headers) && s.headers[index][0] == name; index++ {
			values = append(values, escaped(s.headers[index][1]))
		}
		joint := ", "
		if name == "cookie" {
			joint = "; "
		}
		pairs = append(pairs, `"`+escaped(inTitleCase(name))+`":"`+strings.Join(values, joint)+`"`)
	}
	return strings.Join(pairs, ",")
}

func inTitleCase(name string) string {
	start := true
	return strings.Map(func(char rune) rune {
		switch {
		case char >= utf8.RuneSelf:
		case start:
			char = unicode.ToUpper(char)
		default:
			char = unicode.ToLower(char)
		}
		start = char == '-'
		return char
	}, name)
}

var escapes = strings.NewReplacer("\"", `\"`, "\\", `\\`, "\b", `\b`, "\f", `\f`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

// escaped is the inside of a JSON string as runners write it.
func escaped(text string) string {
	out := ""
	for _, char := range escapes.Replace(text) {
		if char < ' ' {
			out += fmt.Sprintf(`\u%04x`, char)
		} else {
			out += string(char)
		}
	}
	return out
}

// answered is an answer as a client gets it, but for what runners say of failures: it is empty.
type answered struct {
	status  int
	headers string
	body    string
}

var failed = answered{status: 500}

// ofDocument reads the result of callHandleHTTP.
func ofDocument(t *testing.T, framed []byte) answered {
	t.Helper()
	var document struct {
		JSONBody   json.RawMessage
		TextBody   []byte
		Headers    json.RawMessage
		StatusCode int
	}
	if framed[0] != 'S' || !utf8.Valid(framed) || json.Unmarshal(framed[1:], &document) != nil {
		return failed
	}
	answer := answered{status: document.StatusCode}
	if answer.status == 0 {
		answer.status = 200
	}
	fields, valid := fieldsInOrder(document.Headers)
	if !valid || answer.status < 200 || answer.status > 999 {
		return failed
	}
	contentType := "text/plain; charset=utf-8"
	answer.body = string(document.TextBody)
	if answer.body == "" {
		contentType = "application/json"
		var compact bytes.Buffer
		if err := json.Compact(&compact, document.JSONBody); err != nil {
			t.Fatal(err)
		}
		if answer.body = compact.String(); answer.body == "null" {
			answer.body = "{}"
		}
	}
	bodyless := answer.status == 204 || answer.status == 304
	for _, field := range fields {
		bodyless = bodyless || strings.EqualFold(field[0], "content-type")
	}
	if !bodyless {
		fields = append(fields, [2]string{"Content-Type", contentType})
	}
	answer.headers = fmt.Sprintf("%q", fields)
	return answer
}

// fieldsInOrder reads the Headers of a response document.
func fieldsInOrder(text []byte) (fields [][2]string, valid bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	open, err := decoder.Token()
	if err != nil || open == nil {
		return nil, err == nil
	}
	if open != json.Delim('{') {
		return nil, false
	}
	for decoder.More() {
		name, _ := decoder.Token()
		var value any
		if decoder.Decode(&value) != nil {
			return nil, false
		}
		list, isList := value.([]any)
		if !isList && value != nil {
			list = []any{value}
		}
		for _, value := range list {
			text, isText := value.(string)
			if !isText {
				return nil, false
			}
			fields = append(fields, [2]string{name.(string), text})
		}
	}
	return fields, true
}

// ofBytes reads the result of callHandleRequest.
func ofBytes(t *testing.T, head, body []byte) answered {
	t.Helper()
	status := int(binary.LittleEndian.Uint32(head))
	if status == 0 {
		if !bytes.Equal(head, make([]byte, 8)) {
			t.Errorf("the head of a failure is %q", head)
		}
		return failed
	}
	count := int(binary.LittleEndian.Uint32(head[4:]))
	lengths, texts := head[8:8+8*count], head[8+8*count:]
	take := func() string {
		length := binary.LittleEndian.Uint32(lengths)
		text := string(texts[:length])
		lengths, texts = lengths[4:], texts[length:]
		return text
	}
	var fields [][2]string
	for len(lengths) > 0 {
		name := take()
		fields = append(fields, [2]string{name, take()})
	}
	if len(texts) > 0 {
		t.Errorf("%q is left of the head", texts)
	}
	return answered{status: status, headers: fmt.Sprintf("%q", fields), body: string(body)}
}
