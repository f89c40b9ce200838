// A GitLab webhook: when an issue or a comment on one names the bot, the bot answers with a comment.
package main

import (
	"errors"
	"strconv"
	"strings"

	capsule "github.com/bots-garden/capsule-module-sdk"
	"github.com/valyala/fastjson"
)

// The settings are read once, while the module starts.
var (
	apiURL       = capsule.GetEnv("GITLAB_API_URL")
	botToken     = capsule.GetEnv("GITLAB_BOT_TOKEN")
	botName      = capsule.GetEnv("GITLAB_BOT_NAME")
	webhookToken = capsule.GetEnv("WEBHOOK_TOKEN")
)

func init() {
	capsule.SetHandleHTTP(handle)
}

func handle(request capsule.HTTPRequest) (capsule.HTTPResponse, error) {
	if webhookToken != "" && !sameSecret(request.Header().Get("X-Gitlab-Token"), webhookToken) {
		return answer(401, "error", "the webhook token does not match"), nil
	}
	event, err := fastjson.Parse(request.Body)
	if err != nil {
		capsule.Log(err.Error())
	}
	note, issue := reply(event)
	if note == "" {
		return answer(200, "message", "this is not an issue or note event"), nil
	}
	project := strconv.FormatInt(event.GetInt64("project", "id"), 10)
	if err := comment(project, strconv.FormatInt(issue, 10), note); err != nil {
		capsule.Log(err.Error())
		return answer(500, "error", err.Error()), nil
	}
	return answer(200, "message", "OK"), nil
}

// reply finds what the bot says and on which issue, counted within its project. The text is empty when the bot is not meant.
func reply(event *fastjson.Value) (text string, issue int64) {
	user := string(event.GetStringBytes("user", "username"))
	switch string(event.GetStringBytes("object_kind")) {
	case "issue":
		if namesBot(event.GetStringBytes("object_attributes", "description")) {
			return "😃 Hello @" + user, event.GetInt64("object_attributes", "iid")
		}
	case "note":
		// A note on a merge request or a commit has no issue.
		if event.Exists("issue") && namesBot(event.GetStringBytes("object_attributes", "note")) {
			return "🤗 Hey @" + user, event.GetInt64("issue", "iid")
		}
	}
	return "", 0
}

func namesBot(text []byte) bool {
	return botName != "" && strings.Contains(string(text), botName)
}

// comment adds a comment to an issue.
func comment(project, issue, text string) error {
	response, err := capsule.HTTP(capsule.HTTPRequest{
		Method: "POST",
		URI:    apiURL + "/projects/" + project + "/issues/" + issue + "/notes",
		Headers: capsule.SetHeaders(map[string]string{
			"Content-Type":  "application/json; charset=utf-8",
			"PRIVATE-TOKEN": botToken,
		}),
		JSONBody: capsule.NewObject().Text("body", text).String(),
	})
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return errors.New("GitLab answers with status " + strconv.Itoa(response.StatusCode))
	}
	return nil
}

// sameSecret compares in a time that does not tell how much is right.
func sameSecret(given, wanted string) bool {
	if len(given) != len(wanted) {
		return false
	}
	var difference byte
	for at := 0; at < len(wanted); at++ {
		difference |= given[at] ^ wanted[at]
	}
	return difference == 0
}

func answer(status int, field, text string) capsule.HTTPResponse {
	return capsule.HTTPResponse{
		JSONBody:   capsule.NewObject().Text(field, text).String(),
		Headers:    capsule.SetHeaders(map[string]string{"Content-Type": "application/json; charset=utf-8"}),
		StatusCode: status,
	}
}

func main() {}
