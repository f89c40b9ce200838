package main

import (
	"errors"
	"testing"

	capsule "github.com/bots-garden/capsule-module-sdk"
)

const (
	issueEvent = `{"object_kind":"issue","user":{"username":"bob"},"project":{"id":7},"object_attributes":{"iid":3,"description":"hey @bot"}}`
	noteEvent  = `{"object_kind":"note","user":{"username":"bob"},"project":{"id":7},"object_attributes":{"note":"hey @bot"},"issue":{"iid":4}}`
)

// configure sets what the module reads while it starts, and a GitLab that answers with a status.
func configure(status int, failure error) (sent *[]capsule.HTTPRequest) {
	apiURL, botToken, botName, webhookToken = "http://gitlab/api/v4", "glpat-1", "@bot", "secret"
	sent = &[]capsule.HTTPRequest{}
	capsule.UseFakeHost().HTTP = func(request capsule.HTTPRequest) (capsule.HTTPResponse, error) {
		*sent = append(*sent, request)
		return capsule.HTTPResponse{JSONBody: "{}", StatusCode: status}, failure
	}
	return sent
}

func TestTheBotAnswersWhoNamesIt(t *testing.T) {
	for event, want := range map[string]struct{ uri, body string }{
		issueEvent: {"http://gitlab/api/v4/projects/7/issues/3/notes", `{"body":"😃 Hello @bob"}`},
		noteEvent:  {"http://gitlab/api/v4/projects/7/issues/4/notes", `{"body":"🤗 Hey @bob"}`},
	} {
		sent := configure(201, nil)
		response, err := handle(capsule.HTTPRequest{Body: event, Headers: `"X-Gitlab-Token":"secret"`})
		if err != nil || response.StatusCode != 200 || response.JSONBody != `{"message":"OK"}` {
			t.Errorf("answered %+v, %v", response, err)
		}
		if len(*sent) != 1 {
			t.Fatalf("sent %+v", *sent)
		}
		request := (*sent)[0]
		if request.Method != "POST" || request.URI != want.uri || request.JSONBody != want.body {
			t.Errorf("sent %+v", request)
		}
		if request.Header().Get("PRIVATE-TOKEN") != "glpat-1" {
			t.Errorf("headers %s", request.Headers)
		}
	}
}

func TestOtherEventsAreLeftAlone(t *testing.T) {
	for _, event := range []string{
		`{"object_kind":"push"}`, `{"object_kind":"issue","object_attributes":{"description":"hey"}}`,
		`{"object_kind":"note","object_attributes":{"note":"hey @bot"},"merge_request":{"iid":4}}`, `nonsense`, ``,
	} {
		sent := configure(201, nil)
		response, err := handle(capsule.HTTPRequest{Body: event, Headers: `"X-Gitlab-Token":"secret"`})
		if err != nil || response.StatusCode != 200 || response.JSONBody != `{"message":"this is not an issue or note event"}` || len(*sent) != 0 {
			t.Errorf("%s: %+v, %v, sent %+v", event, response, err, *sent)
		}
	}
}

func TestTheTokenIsChecked(t *testing.T) {
	for _, headers := range []string{``, `"X-Gitlab-Token":"secreT"`, `"X-Gitlab-Token":"secrets"`} {
		sent := configure(201, nil)
		response, err := handle(capsule.HTTPRequest{Body: issueEvent, Headers: headers})
		if err != nil || response.StatusCode != 401 || len(*sent) != 0 {
			t.Errorf("%s: %+v, %v, sent %+v", headers, response, err, *sent)
		}
	}
	configure(201, nil)
	webhookToken = ""
	if response, _ := handle(capsule.HTTPRequest{Body: issueEvent}); response.StatusCode != 200 {
		t.Errorf("without a token to check: %+v", response)
	}
}

func TestGitLabFails(t *testing.T) {
	for want, answer := range map[string]struct {
		status  int
		failure error
	}{
		`{"error":"GitLab answers with status 404"}`: {404, nil},
		`{"error":"connection refused"}`:             {0, errors.New("connection refused")},
	} {
		configure(answer.status, answer.failure)
		response, err := handle(capsule.HTTPRequest{Body: issueEvent, Headers: `"X-Gitlab-Token":"secret"`})
		if err != nil || response.StatusCode != 500 || response.JSONBody != want {
			t.Errorf("answered %+v, %v", response, err)
		}
	}
}
