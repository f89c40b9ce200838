package capsule

import (
	"errors"

	"github.com/valyala/fastjson"
)

var (
	handle     func([]byte) ([]byte, error)
	handleJSON func(*fastjson.Value) ([]byte, error)
	// At most one of these is set.
	handleHTTP    func(HTTPRequest) (HTTPResponse, error)
	handleRequest func(Request) (Response, error)
)

// SetHandle registers the handler of texts and bytes. Its argument is its own to keep. An error becomes the failure of the call.
func SetHandle(function func(param []byte) ([]byte, error)) {
	handle = function
}

// SetHandleJSON registers the handler of JSON documents. Its argument may be kept. An error becomes the failure of the call.
func SetHandleJSON(function func(param *fastjson.Value) ([]byte, error)) {
	handleJSON = function
}

// SetHandleHTTP registers the handler of HTTP requests. An error becomes a response 500 with its text.
func SetHandleHTTP(function func(param HTTPRequest) (HTTPResponse, error)) {
	handleRequest = nil
	handleHTTP = function
}

// answerBytes runs the handler of texts. The argument belongs to the host: it is copied before the handler sees it.
func answerBytes(argument []byte) []byte {
	if handle == nil {
		return frameError(errNotSet("SetHandle"))
	}
	result, err := handle(append([]byte{}, argument...))
	if err != nil {
		return frameError(err)
	}
	return frame(frameSuccess, result)
}

// answerJSON runs the handler of JSON documents. The parser, which copies the argument, is the call's own.
func answerJSON(argument []byte) []byte {
	if handleJSON == nil {
		return frameError(errNotSet("SetHandleJSON"))
	}
	var parser fastjson.Parser
	value, err := parser.ParseBytes(argument)
	if err != nil {
		return frameError(notJSON("the argument", err))
	}
	result, err := handleJSON(value)
	if err != nil {
		return frameError(err)
	}
	return frame(frameSuccess, result)
}

// answerHTTP runs the handler of HTTP requests.
func answerHTTP(argument []byte) []byte {
	if handleHTTP == nil && handleRequest == nil {
		return frameError(errNotSet("SetHandleHTTP"))
	}
	document, err := parseDocument(argument)
	if err != nil {
		return frameError(err)
	}
	response, err := respond(document)
	if err != nil {
		return frameError(err)
	}
	if err := checkResponse(response); err != nil {
		return frameError(err)
	}
	return appendResponse(frameSuccess, response)
}

// respond calls the handler that is set.
func respond(document *fastjson.Value) (HTTPResponse, error) {
	if handleRequest == nil {
		return handleHTTP(readHTTPRequest(document))
	}
	request, err := readRequest(document)
	if err != nil {
		return HTTPResponse{}, err
	}
	response, err := handleRequest(request)
	if err != nil {
		return HTTPResponse{}, err
	}
	return HTTPResponse{TextBody: textOf(response.Body), Headers: response.Header.String(), StatusCode: response.StatusCode}, nil
}

// answerRequest runs the handler of HTTP requests on a head and a body, and answers with both.
func answerRequest(head, body []byte) (answerHead, answerBody []byte) {
	answerHead, answerBody, err := respondInBytes(head, body)
	if err != nil {
		return failureHead, []byte(err.Error())
	}
	return answerHead, answerBody
}

// respondInBytes calls the handler that is set. The answer is what a runner makes of the response document: a body of its own where
// there is none, and its content type.
func respondInBytes(head, body []byte) (answerHead, answerBody []byte, err error) {
	switch {
	case handleRequest != nil:
		request, err := requestOf(head, body)
		if err != nil {
			return nil, nil, err
		}
		response, err := handleRequest(request)
		if err != nil {
			return nil, nil, err
		}
		return bytesOfResponse(response)
	case handleHTTP != nil:
		request, err := httpRequestOf(head, body)
		if err != nil {
			return nil, nil, err
		}
		response, err := handleHTTP(request)
		if err != nil {
			return nil, nil, err
		}
		return bytesOfHTTPResponse(response)
	}
	return nil, nil, errNotSet("SetHandleHTTP")
}

func errNotSet(setter string) error {
	return errors.New("this module does not serve this kind of call: no handler was set with capsule." + setter +
		" (call it in init; a Go reactor does not run main)")
}
