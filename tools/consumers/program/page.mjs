/* global URLSearchParams, location */
import { report } from './client.mjs';

report(new URLSearchParams(location.search).get('home'));
