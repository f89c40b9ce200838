package capsule

import (
	"errors"
	"sort"
	"strings"

	"github.com/valyala/fastjson"
)

// Header holds header fields by canonical name, each with its values in order, as http.Header does. A nil one can be read.
type Header map[string][]string

// ParseHeader reads the Headers text of a request or a response: a JSON object, or its fields without the braces. A value is a
// string or an array of strings.
//
// The Go runner of Capsule did not escape quotes inside a value. Its texts are read as well as they can be.
func ParseHeader(text string) (Header, error) {
	header := Header{}
	if err := visitHeaders(text, header.Add); err != nil {
		return nil, err
	}
	return header, nil
}

var errHeaders = errors.New("the headers are not a JSON object")

// visitHeaders calls visit for every value of every field, names as they are written.
func visitHeaders(text string, visit func(name, value string)) error {
	fields := strings.TrimSpace(text)
	if fields == "" || fields == "null" {
		return nil
	}
	if !strings.HasPrefix(fields, "{") {
		fields = "{" + fields + "}"
	}
	var parser fastjson.Parser
	parsed, err := parser.Parse(fields)
	if err != nil {
		return visitUnescaped(strings.TrimSuffix(fields[1:], "}"), visit)
	}
	object, err := parsed.Object()
	if err != nil {
		return errHeaders
	}
	object.Visit(func(name []byte, value *fastjson.Value) {
		if value.Type() != fastjson.TypeArray {
			visit(string(name), headerText(value))
			return
		}
		for _, item := range value.GetArray() {
			visit(string(name), headerText(item))
		}
	})
	return nil
}

// headerText is one value; numbers and booleans stand for their text.
func headerText(value *fastjson.Value) string {
	if value.Type() == fastjson.TypeString {
		return string(value.GetStringBytes())
	}
	return value.String()
}

// visitUnescaped reads `"Name":"value","Name":"value"` whose values contain bare quotes.
func visitUnescaped(fields string, visit func(name, value string)) error {
	fields = strings.TrimSpace(fields)
	if len(fields) < 2 || fields[0] != '"' || fields[len(fields)-1] != '"' {
		return errHeaders
	}
	for _, field := range strings.Split(fields[1:len(fields)-1], `","`) {
		name, value, found := strings.Cut(field, `":"`)
		if !found {
			return errHeaders
		}
		visit(name, value)
	}
	return nil
}

// Get returns the first value of a field, or "". The name may be written in any case.
func (h Header) Get(name string) string {
	if values := h[canonicalName(name)]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Values returns all values of a field. The slice belongs to the header.
func (h Header) Values(name string) []string {
	return h[canonicalName(name)]
}

// Set replaces all values of a field by one.
func (h Header) Set(name, value string) {
	h[canonicalName(name)] = []string{value}
}

// Add adds a value to a field.
func (h Header) Add(name, value string) {
	name = canonicalName(name)
	h[name] = append(h[name], value)
}

// Del removes a field.
func (h Header) Del(name string) {
	delete(h, canonicalName(name))
}

// String is the header as the JSON object that HTTPResponse.Headers and HTTPRequest.Headers (of an outbound request) want. Names are sorted;
// a field with several values is an array.
func (h Header) String() string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	sort.Strings(names)
	object := NewObject()
	for _, name := range names {
		if values := h[name]; len(values) == 1 {
			object.Text(name, values[0])
		} else {
			object.Texts(name, values)
		}
	}
	return object.String()
}

// canonicalName writes a header name as HTTP libraries do: `content-type` becomes `Content-Type`. A name that HTTP does not allow stays as it is.
func canonicalName(name string) string {
	canonical := []byte(name)
	if !titleCase(canonical) {
		return name
	}
	return textOf(canonical)
}

// titleCase writes the first letter, and each behind a `-`, as a capital, and all others small. It says whether HTTP allows the name.
func titleCase(name []byte) bool {
	start, allowed := true, true
	for at, char := range name {
		kind := charKinds[char]
		if start && kind == charSmall || !start && kind == charCapital {
			name[at] = char ^ ' '
		}
		allowed = allowed && kind != charOther
		start = char == '-'
	}
	return allowed
}

// charKinds says of each character what it is in a name (RFC 9110, section 5.6.2).
var charKinds = func() (kinds [256]byte) {
	for char := 'a'; char <= 'z'; char++ {
		kinds[char], kinds[char^' '] = charSmall, charCapital
	}
	for _, char := range "!#$%&'*+-.^_`|~0123456789" {
		kinds[char] = charAllowed
	}
	return kinds
}()

const (
	charOther = iota
	charAllowed
	charSmall
	charCapital
)

// GetHeaders reads the Headers text of a request or a response into a map; names stay as they are written. Several values of one
// name are joined by ", ". A text that is no list of headers gives an empty map.
func GetHeaders(headers string) map[string]string {
	fields := map[string]string{}
	err := visitHeaders(headers, func(name, value string) {
		if before, several := fields[name]; several {
			value = before + ", " + value
		}
		fields[name] = value
	})
	if err != nil {
		return map[string]string{}
	}
	return fields
}

// SetHeaders makes the Headers text of a response or an outbound request: a JSON object with sorted names.
func SetHeaders(headers map[string]string) string {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	sort.Strings(names)
	object := NewObject()
	for _, name := range names {
		object.Text(name, headers[name])
	}
	return object.String()
}
