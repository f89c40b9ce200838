package capsule

import "github.com/valyala/fastjson"

// Print writes a text and a newline to the runner's standard output.
func Print(message string) {
	hostPrintString(bytesOf(message))
}

// Log writes a text and a newline to the runner's standard output, with a timestamp in front.
func Log(message string) {
	hostLogString(bytesOf(message))
}

// Talk sends a message to the host and returns its answer. What the host does with it is up to the runner.
func Talk(message []byte) []byte {
	return hostTalk(message)
}

// GetEnv reads an environment variable of the runner. One that is unset, or that the module may not see, is "".
func GetEnv(variableName string) string {
	return string(hostGetEnv(bytesOf(variableName)))
}

// ReadFile reads a file. The error is the runner's reason.
func ReadFile(filePath string) ([]byte, error) {
	return Result(hostReadFile(bytesOf(filePath)))
}

// WriteFile creates a file or replaces its content. The error is the runner's reason.
func WriteFile(filePath string, content []byte) error {
	_, err := Result(hostWriteFile(bytesOf(filePath), content))
	return err
}

// CacheSet stores a value in the runner's memory, which all instances of the module share. It returns the key, nil when that failed.
func CacheSet(key string, value []byte) []byte {
	result, err := Result(hostCacheSet(bytesOf(key), value))
	if err != nil {
		return nil
	}
	return result
}

// CacheGet reads a value from the runner's memory. A key that is not there is an error that [IsNotFound] knows.
func CacheGet(key string) ([]byte, error) {
	return Result(hostCacheGet(bytesOf(key)))
}

// CacheDel removes a key from the runner's memory, if it is there. It returns the key, nil when that failed.
func CacheDel(key string) []byte {
	result, err := Result(hostCacheDel(bytesOf(key)))
	if err != nil {
		return nil
	}
	return result
}

// CacheKeys lists the keys that match a glob pattern, such as "*" or "user:*".
func CacheKeys(filter string) ([]string, error) {
	return keys(hostCacheKeys(bytesOf(filter)))
}

// RedisSet stores a value in Redis, without expiry. It returns the key.
func RedisSet(key string, value []byte) ([]byte, error) {
	return Result(hostRedisSet(bytesOf(key), value))
}

// RedisGet reads a value from Redis. A key that is not there is an error that [IsNotFound] knows.
func RedisGet(key string) ([]byte, error) {
	return Result(hostRedisGet(bytesOf(key)))
}

// RedisDel removes a key from Redis, if it is there. It returns the key.
func RedisDel(key string) ([]byte, error) {
	return Result(hostRedisDel(bytesOf(key)))
}

// RedisKeys lists the keys that match a glob pattern, as the Redis command KEYS does.
func RedisKeys(pattern string) ([]string, error) {
	return keys(hostRedisKeys(bytesOf(pattern)))
}

// What CacheGet and RedisGet say of a key that is not there.
const (
	cacheNotFound = "key not found"
	redisNotFound = "redis: nil"
)

// IsNotFound says whether an error of [CacheGet] or [RedisGet] means that there is no such key.
func IsNotFound(err error) bool {
	if err == nil {
		return false
	}
	return err.Error() == cacheNotFound || err.Error() == redisNotFound
}

// keys reads `{"keys":["one","two"]}` out of a frame.
func keys(framed []byte) ([]string, error) {
	document, err := Result(framed)
	if err != nil {
		return nil, err
	}
	var parser fastjson.Parser
	value, err := parser.ParseBytes(document)
	if err != nil {
		return nil, notJSON("the host's list of keys", err)
	}
	var names []string
	for _, key := range value.GetArray("keys") {
		names = append(names, string(key.GetStringBytes()))
	}
	return names, nil
}
