module github.com/bots-garden/capsule-module-sdk

go 1.20

require github.com/valyala/fastjson v1.6.4
