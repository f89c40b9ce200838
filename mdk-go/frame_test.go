package capsule

import (
	"bytes"
	"testing"
	"unsafe"
)

func TestResultTakesFramesApart(t *testing.T) {
	for _, test := range []struct{ framed, payload, failure string }{
		{"Sabc", "abc", ""},
		{"S", "", ""},
		{"Fredis: nil", "", "redis: nil"},
		{"F", "", ""},
		{"", "", "the host answered nothing, expected a frame that starts with S or F"},
		{"Xabc", "", "the host's answer is not a frame that starts with S or F"},
	} {
		payload, err := Result([]byte(test.framed))
		if failed := len(test.framed) == 0 || test.framed[0] != 'S'; failed != (err != nil) {
			t.Errorf("%q: error %v", test.framed, err)
			continue
		}
		if err != nil && err.Error() != test.failure {
			t.Errorf("%q: error %q, want %q", test.framed, err, test.failure)
		}
		if string(payload) != test.payload {
			t.Errorf("%q: payload %q, want %q", test.framed, payload, test.payload)
		}
	}
}

func TestAFrameIsACopy(t *testing.T) {
	payload := []byte("abc")
	framed := frame(frameSuccess, payload)
	payload[0] = 'x'
	if string(framed) != "Sabc" {
		t.Errorf("frame %q changed with its payload", framed)
	}
}

func TestPackedBuffersAreHeldUntilTheNextCall(t *testing.T) {
	releaseHeld()
	if packed := CopyBufferToMemory(nil); packed != 0 {
		t.Errorf("an empty buffer is packed as %d, want 0", packed)
	}
	buffer := []byte("four")
	packed := CopyBufferToMemory(buffer)
	if uint32(packed) != 4 || uint32(packed>>32) != address(buffer) {
		t.Errorf("packed as %x", packed)
	}
	if &held[0][0] != &buffer[0] {
		t.Error("the buffer is not held")
	}
	for index := 0; index < heldBuffers; index++ {
		Success([]byte{byte(index)})
	}
	if !bytes.Equal(held[0], []byte{'S', heldBuffers - 1}) {
		t.Errorf("the oldest is now %q", held[0])
	}
	releaseHeld()
	for _, buffer := range held {
		if buffer != nil {
			t.Error("still held after the next call began")
		}
	}
}

func TestLentBuffersAreTakenOnce(t *testing.T) {
	buffer := lend(5)
	copy(buffer, "Svalu")
	at := address(buffer)
	if _, err := take(at, 6); err == nil {
		t.Error("more was taken than was lent")
	}
	taken, err := take(at, 3)
	if err != nil || string(taken) != "Sva" || cap(taken) != 3 {
		t.Errorf("took %q with room for %d, %v", taken, cap(taken), err)
	}
	if _, err := take(at, 3); err == nil {
		t.Error("taken twice")
	}
	if taken, err := take(12345, 0); taken != nil || err != nil {
		t.Errorf("an empty answer is %q, %v", taken, err)
	}
	first, second := lend(0), lend(0)
	if address(first) == address(second) || len(first) != 0 {
		t.Error("empty buffers share an address")
	}
}

func TestReadBufferFromMemoryTakesOrCopies(t *testing.T) {
	lentBuffer := lend(4)
	copy(lentBuffer, "lent")
	read := ReadBufferFromMemory((*uint32)(unsafe.Pointer(&lentBuffer[0])), 4)
	if string(read) != "lent" || &read[0] != &lentBuffer[0] {
		t.Errorf("read %q, not the lent buffer", read)
	}
	own := []byte("own!")
	read = ReadBufferFromMemory((*uint32)(unsafe.Pointer(&own[0])), 4)
	own[0] = 'x'
	if string(read) != "own!" {
		t.Errorf("read %q, not a copy", read)
	}
	if ReadBufferFromMemory(nil, 0) != nil {
		t.Error("an empty buffer is not nil")
	}
}
