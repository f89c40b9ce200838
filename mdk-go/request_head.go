package capsule

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Requests as bytes: the head that callHandleRequest gets (docs/abi.md, section 3) is a table of 32-bit little-endian numbers and then
// bytes without separators. The body is bytes beside it.

// numberSize is the size of a number in a head.
const numberSize = 4

// The fields of a request that are read, in their order. Those behind them are passed over.
const (
	fieldMethod = iota
	fieldScheme
	fieldHost
	fieldPath
	fieldID
	readFields
)

// requestHead is the head of a request: parts of it, not copies. Its header fields are taken off one by one.
type requestHead struct {
	fields [readFields][]byte
	// The lengths of names and values that were not taken yet, and these themselves.
	lengths, texts []byte
}

// parseHead takes the head of a request apart. All that it is made of lies within it afterwards, whatever its lengths say.
func parseHead(head []byte) (requestHead, error) {
	var parsed requestHead
	reader := headReader{rest: head}
	fieldCount := reader.number()
	headerCount := reader.number()
	lengths := reader.take(uint64(fieldCount) * numberSize)
	parsed.lengths = reader.take(uint64(headerCount) * 2 * numberSize)
	for index := 0; index < len(lengths)/numberSize; index++ {
		field := reader.take(uint64(numberAt(lengths, index)))
		if index >= readFields {
			continue
		}
		if !utf8.Valid(field) {
			reader.fail("a field that is text")
		}
		parsed.fields[index] = field
	}
	parsed.texts = reader.rest
	var sum uint64
	for index := 0; index < len(parsed.lengths)/numberSize; index++ {
		sum += uint64(numberAt(parsed.lengths, index))
	}
	if sum != uint64(len(parsed.texts)) {
		reader.fail("headers of the lengths that it says")
	}
	if reader.expected != "" {
		return requestHead{}, errors.New("the head of the request is not valid: expected " + reader.expected)
	}
	return parsed, nil
}

// count is how many header fields were not taken yet.
func (h *requestHead) count() int {
	return len(h.lengths) / (2 * numberSize)
}

// next takes the next header field off. There must be one.
func (h *requestHead) next() (name, value []byte) {
	ofName, ofValue := numberAt(h.lengths, 0), numberAt(h.lengths, 1)
	h.lengths = h.lengths[2*numberSize:]
	name, h.texts = h.texts[:ofName], h.texts[ofName:]
	value, h.texts = h.texts[:ofValue], h.texts[ofValue:]
	return name, value
}

// field is one of the fields as a text, good as long as the head is.
func (h *requestHead) field(index int) string {
	return textOf(h.fields[index])
}

// headReader reads a head from front to back. What is expected where a head ends too early stays in expected, and nothing is
// read any more.
type headReader struct {
	rest     []byte
	expected string
}

func (r *headReader) fail(expected string) {
	if r.expected == "" {
		r.expected = expected
		r.rest = nil
	}
}

func (r *headReader) number() uint32 {
	if len(r.rest) < numberSize {
		r.fail("a number")
		return 0
	}
	number := numberAt(r.rest, 0)
	r.rest = r.rest[numberSize:]
	return number
}

func (r *headReader) take(length uint64) []byte {
	if length > uint64(len(r.rest)) {
		r.fail("as many bytes as it says")
		return nil
	}
	taken := r.rest[:length]
	r.rest = r.rest[length:]
	return taken
}

// numberAt reads one number of a table.
func numberAt(table []byte, index int) uint32 {
	table = table[index*numberSize : (index+1)*numberSize]
	return uint32(table[0]) | uint32(table[1])<<8 | uint32(table[2])<<16 | uint32(table[3])<<24
}

func appendNumber(out []byte, number uint32) []byte {
	return append(out, byte(number), byte(number>>8), byte(number>>16), byte(number>>24))
}

// httpRequestOf makes the request of texts that a document would have given, but with the body exactly as it came. All its texts but the
// body are parts of one.
func httpRequestOf(head, body []byte) (HTTPRequest, error) {
	parsed, err := parseHead(head)
	if err != nil {
		return HTTPRequest{}, err
	}
	// The numbers of a head take more room than what stands between the texts. Only escapes make it too small.
	texts := make([]byte, 0, len(head))
	texts = append(texts, parsed.field(fieldMethod)...)
	methodEnd := len(texts)
	for _, part := range [...]string{parsed.field(fieldScheme), "://", parsed.field(fieldHost), parsed.field(fieldPath)} {
		texts = append(texts, part...)
	}
	uriEnd := len(texts)
	text := textOf(parsed.appendHeaders(texts))
	return HTTPRequest{Body: string(body), URI: text[methodEnd:uriEnd], Method: text[:methodEnd], Headers: text[uriEnd:]}, nil
}

// appendHeaders takes all header fields off and writes the Headers text of a request: pairs `"Name":"value"` joined by commas, names in
// canonical case. Values of a field that is repeated are joined.
func (h *requestHead) appendHeaders(out []byte) []byte {
	last, some := "", false
	for h.count() > 0 {
		nameBytes, value := h.next()
		name := textOf(nameBytes)
		if some && strings.EqualFold(name, last) {
			out = append(out, separator(name)...)
		} else {
			if some {
				out = append(out, `",`...)
			}
			out = append(out, '"')
			out = appendName(out, name)
			out = append(out, `":"`...)
			last, some = name, true
		}
		out = appendEscaped(out, textOf(value))
	}
	if some {
		out = append(out, '"')
	}
	return out
}

// separator is what joins the values of a field.
func separator(name string) string {
	if strings.EqualFold(name, "cookie") {
		return "; "
	}
	return ", "
}

// appendName writes a name in canonical case into a JSON string. Only a name that HTTP does not allow needs escapes.
func appendName(out []byte, name string) []byte {
	start := len(out)
	out = append(out, name...)
	if titleCase(out[start:]) {
		return out
	}
	canonical := string(out[start:])
	return appendEscaped(out[:start], canonical)
}

// requestOf makes the request of bytes. Its texts are parts of one copy of the head.
func requestOf(head, body []byte) (Request, error) {
	parsed, err := parseHead(append([]byte(nil), head...))
	if err != nil {
		return Request{}, err
	}
	path, query, _ := strings.Cut(parsed.field(fieldPath), "?")
	request := Request{
		Method: parsed.field(fieldMethod),
		URI:    parsed.field(fieldScheme) + "://" + parsed.field(fieldHost) + parsed.field(fieldPath),
		Path:   path,
		Query:  query,
		ID:     parsed.field(fieldID),
		Header: make(Header, parsed.count()),
		Body:   append([]byte{}, body...),
	}
	values := make([]string, parsed.count())
	for index := range values {
		name, value := parsed.next()
		titleCase(name)
		key := validText(textOf(name))
		values[index] = validText(textOf(value))
		if before, repeated := request.Header[key]; repeated {
			request.Header[key] = append(before, values[index])
		} else {
			request.Header[key] = values[index : index+1 : index+1]
		}
	}
	return request, nil
}

// validText puts U+FFFD in the place of each byte that is not UTF-8.
func validText(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}
