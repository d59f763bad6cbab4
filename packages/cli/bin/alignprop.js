#!/usr/bin/env node
// A file of its own, not dist/main.js: npm links commands at install time, and skips those that a build has yet to write.
import '../dist/main.js';
