//go:build wasm && !tinygo

package main

// Standard Go exports with go:wasmexport.

//go:wasmexport OnStart
func exportOnStart() { onStart() }

//go:wasmexport OnStop
func exportOnStop() { onStop() }

//go:wasmexport OnHealthCheck
func exportOnHealthCheck() uint64 { return onHealthCheck() }

//go:wasmexport OnMetrics
func exportOnMetrics() uint64 { return onMetrics() }
