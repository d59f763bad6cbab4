'use client';

import { useEffect } from 'react';
import { report } from '../client.mjs';

export default function Page() {
  useEffect(() => {
    report(new URLSearchParams(location.search).get('home'));
  }, []);
  return <p>AlignProp</p>;
}
