package capsule

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestGetHeaders(t *testing.T) {
	for _, test := range []struct {
		text string
		want map[string]string
	}{
		{``, map[string]string{}},
		{`null`, map[string]string{}},
		{`{}`, map[string]string{}},
		{`"Content-Type":"text/plain","Host":"localhost:8080"`, map[string]string{"Content-Type": "text/plain", "Host": "localhost:8080"}},
		{`"Accept":"text/html, */*;q=0.8","If-Match":"\"a:b\""`, map[string]string{"Accept": "text/html, */*;q=0.8", "If-Match": `"a:b"`}},
		{`"Back":"c:\\d"`, map[string]string{"Back": `c:\d`}},
		{`{"PRIVATE-TOKEN": "x", "n": 1}`, map[string]string{"PRIVATE-TOKEN": "x", "n": "1"}},
		{`{"Set-Cookie":["a=1; Path=/","b=2"],"None":[]}`, map[string]string{"Set-Cookie": "a=1; Path=/, b=2"}},
		// The Go runner of Capsule does not escape.
		{`"Sec-Ch-Ua":""Chromium";v="110", "Not A":v=2","Host":"h"`, map[string]string{"Sec-Ch-Ua": `"Chromium";v="110", "Not A":v=2`, "Host": "h"}},
		{`"Back":"c:\d"`, map[string]string{"Back": `c:\d`}},
		{`{`, map[string]string{}},
		{`"`, map[string]string{}},
		{`"a"`, map[string]string{}},
		{`[1]`, map[string]string{}},
		{`"a":"b","c"`, map[string]string{}},
	} {
		if got := GetHeaders(test.text); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.text, got, test.want)
		}
	}
}

func TestSetHeadersIsReadBack(t *testing.T) {
	headers := map[string]string{"X-Quote": `a "b", c:d\e`, "PRIVATE-TOKEN": "glpat-1", "Empty": ""}
	text := SetHeaders(headers)
	if text != `{"Empty":"","PRIVATE-TOKEN":"glpat-1","X-Quote":"a \"b\", c:d\\e"}` {
		t.Errorf("text %s", text)
	}
	if got := GetHeaders(text); !reflect.DeepEqual(got, headers) {
		t.Errorf("got %q", got)
	}
	if got := SetHeaders(nil); got != "{}" {
		t.Errorf("no headers are %s", got)
	}
}

func TestHeaderWorksByAnyCase(t *testing.T) {
	header, err := ParseHeader(`{"x-gitlab-TOKEN":"secret","Set-Cookie":["a=1","b=2"],"odd name":"kept"}`)
	if err != nil {
		t.Fatal(err)
	}
	if header.Get("X-GITLAB-token") != "secret" || header.Get("odd name") != "kept" || header.Get("absent") != "" {
		t.Errorf("header %q", header)
	}
	header.Add("set-cookie", "c=3")
	if got := header.Values("SET-COOKIE"); !reflect.DeepEqual(got, []string{"a=1", "b=2", "c=3"}) {
		t.Errorf("values %q", got)
	}
	header.Set("x-gitlab-token", "other")
	header.Del("ODD NAME")
	header.Del("odd name")
	if got := header.String(); got != `{"Set-Cookie":["a=1","b=2","c=3"],"X-Gitlab-Token":"other"}` {
		t.Errorf("text %s", got)
	}
	if _, err := ParseHeader(`nonsense`); err == nil {
		t.Error("nonsense was read")
	}
}

func FuzzHeadersNeverPanic(f *testing.F) {
	for _, text := range []string{``, `{`, `"`, `""`, `"a":"b"`, `{"a":{"b":[]}}`, `"a":""b"","c":"d"`, "\xff", `{}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		GetHeaders(text)
		header, err := ParseHeader(text)
		if err != nil {
			return
		}
		if !json.Valid([]byte(header.String())) {
			t.Fatalf("%q became %s", text, header.String())
		}
	})
}
