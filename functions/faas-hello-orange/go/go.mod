module faas-hello-orange

go 1.20

require github.com/bots-garden/capsule-module-sdk v0.0.6

require github.com/valyala/fastjson v1.6.4 // indirect

replace github.com/bots-garden/capsule-module-sdk => ../../../mdk-go
